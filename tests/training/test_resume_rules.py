"""What a resumed run may change, what is recorded of it, and what is refused before anything is written."""

from __future__ import annotations

import shutil
import warnings

import pytest
import yaml

from morl import ConfigError, train
from morl.artifacts.folder import RunFolder
from morl.artifacts.history import Change, read_history
from morl.artifacts.table import MetricsFile, read_rows
from morl.cli import main
from morl.training.resume_rules import changes, check_changes


def flat(**keys):
    tree: dict = {}
    for key, value in keys.items():
        *parents, last = key.split("__")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def test_changes_are_named_by_their_dotted_keys():
    before = flat(seed=1, output="a", rewards__one__weight=1.0, training__steps=4)
    after = flat(seed=2, output="b", rewards__two__weight=1.0, training__steps=4, training__keep="all")
    assert changes(before, after) == {
        "seed": (1, 2),
        "rewards.one.weight": (1.0, None),
        "rewards.two.weight": (None, 1.0),
    }, "a key that the older morl did not know had its default"


def test_what_was_null_changes_when_it_is_set():
    before = flat(policy__lora=None, training__samples_limit=None, evaluation=None, prompts__limit=3)
    after = flat(policy__lora__rank=2, training__samples_limit=5, evaluation__every=2, prompts__limit=None)
    assert changes(before, after) == {
        "policy.lora.rank": (None, 2),
        "training.samples_limit": (None, 5),
        "evaluation.every": (None, 2),
        "prompts.limit": (3, None),
    }
    assert changes(before, before) == {}


def test_options_of_another_part_are_changes_too():
    before = flat(estimator__name="gdpo", estimator__batch_norm=True, loss__name="clipped")
    after = flat(estimator__name="conditioned-gdpo", estimator__conditions__brief__on="good", loss__name="clipped")
    after["loss"]["delta"] = 0.5
    assert changes(before, after) == {
        "estimator.name": ("gdpo", "conditioned-gdpo"),
        "estimator.batch_norm": (True, None),
        "estimator.conditions.brief.on": (None, "good"),
    }, "an option of the same part that the older morl did not know is none"


def test_an_environment_that_comes_or_goes_is_a_change():
    without, with_one = flat(seed=1, environment=None), flat(seed=1, environment__name="tools")
    assert changes(without, with_one) == {"environment.name": (None, "tools")}
    assert changes(with_one, without) == {"environment.name": ("tools", None)}
    newer = flat(seed=1, environment__name="tools", environment__patience=1.0)
    assert changes(with_one, newer) == {}, "an option that the older morl did not know"


@pytest.mark.parametrize(
    ("key", "lag", "refused"),
    [
        ("policy__path", 0, "whose checkpoint restores it"),
        ("optimizer__lr", 0, "whose checkpoint restores it"),
        ("optimizer__schedule", 0, None),
        ("policy__attention", 0, None),
        ("seed", 0, None),
        ("training__group_size", 0, None),
        ("estimator__name", 1, None),
        ("seed", 1, "holds batches that were drawn with it"),
        ("prompts__path", 1, "holds batches that were drawn with it"),
        ("sampling__temperature", 1, "holds batches that were drawn with it"),
        ("training__group_size", 1, "holds batches that were drawn with it"),
        ("environment__max_turns", 0, None),
        ("environment__max_turns", 1, "holds batches that were drawn with it"),
        ("training__prompts_per_step", 2, "holds batches that were drawn with it"),
    ],
)
def test_the_table_of_what_may_change(tmp_path, key, lag, refused):
    before, after = flat(**{key: "old"}), flat(**{key: "new"})
    before.setdefault("rollout", {})["lag"] = after.setdefault("rollout", {})["lag"] = lag
    differ, folder = changes(before, after), RunFolder(tmp_path)
    if refused is None:
        check_changes(differ, before, after, folder)
        return
    with pytest.raises(ConfigError, match=f"{key.replace('__', '.')} cannot change from 'old' to 'new' .*{refused}"):
        check_changes(differ, before, after, folder)


@pytest.mark.parametrize("lags", [(1, 0), (0, 1)])
def test_a_lag_comes_and_goes_with_a_new_run_only(tmp_path, lags):
    before, after = ({"rollout": {"lag": lag}} for lag in lags)
    with pytest.raises(ConfigError, match=r"rollout.lag cannot change"):
        check_changes(changes(before, after), before, after, RunFolder(tmp_path))


def test_a_strategy_that_shards_is_no_change(tmp_path):
    before, after = ({"trainer": {"strategy": strategy}} for strategy in ("ddp", "fsdp2"))
    with pytest.raises(ConfigError, match=r"trainer.strategy cannot change .*either sharded or not"):
        check_changes(changes(before, after), before, after, RunFolder(tmp_path))


def test_advice_names_a_model_only_where_there_is_one(tmp_path):
    before, after = flat(optimizer__lr=1.0), flat(optimizer__lr=2.0)
    for there in (False, True):
        if there:
            (tmp_path / "model").mkdir()
        with pytest.raises(ConfigError) as refused:
            check_changes(changes(before, after), before, after, RunFolder(tmp_path))
        assert ("start a new run from its weights: morl train" in str(refused.value)) == there


def test_a_change_is_recorded_with_its_step_and_a_refused_one_leaves_everything(settings, tmp_path, prompt_file):
    data = tmp_path / "prompts.jsonl"
    data.write_bytes(prompt_file.read_bytes())
    short = {"prompts.path": str(data), "training.steps": 2}
    folder = RunFolder(train(settings(short)).folder)
    (first,) = read_history(folder.history)
    assert (first.step, first.changed, [*first.files]) == (0, {}, [str(data), "prompts"])

    files = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"optimizer.lr cannot change from 0.003 to 0.5"):
        train(settings({**short, "training.steps": 4, "optimizer.lr": 0.5}), resume=True)
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == files

    data.write_text(data.read_text() + '{"prompt": "one more", "answer": "1"}\n')
    with warnings.catch_warnings(record=True) as warned:
        train(settings({**short, "training.steps": 3, "estimator": {"name": "grpo"}}), resume=True)
    said = "\n".join(str(warning.message) for warning in warned)
    assert f"{data}, prompts changed since the run began" in said
    assert "from step 3 on, the resumed run changes estimator.name from 'gdpo' to 'grpo'" in said
    _, second = read_history(folder.history)
    assert second.step == 2
    assert second.changed["estimator.name"] == ["gdpo", "grpo"]
    assert second.changed["training.steps"] == [2, 3]
    assert [*second.files] == [str(data), "prompts"]
    assert yaml.safe_load(folder.config.read_text())["estimator"]["name"] == "grpo"


def test_what_was_written_for_steps_to_come_goes_where_they_will_be_others(settings):
    changes = {"training.steps": 2, "training.samples_every": 1, "training.export_every": 1}
    folder = RunFolder(train(settings(changes)).folder)
    for later in (folder.sample_file(7), folder.evaluation_sample_file(7)):
        later.write_text("of a step that is done no more\n")
    kept = folder.export(1)
    shutil.copytree(kept, folder.export(7))
    shutil.copytree(kept, folder.best)
    (folder.best / "morl.json").write_text('{"step": 7, "best": "short", "mean": 1.0}')
    train(settings({**changes, "training.steps": 3}), resume=True)
    assert [path.name for path in sorted(folder.samples.iterdir())] == [f"step-00000{n}.jsonl" for n in (1, 2, 3)]
    assert folder.export(7).is_dir(), "it would be written again as it is"
    with pytest.warns(UserWarning, match=r"exports/step-000007, best: of later steps under the former settings"):
        train(settings({**changes, "training.steps": 4, "estimator": {"name": "grpo"}}), resume=True)
    assert not folder.best.exists()
    assert [path.name for path in sorted(folder.exports.iterdir())] == [f"step-00000{n}" for n in (1, 2, 3, 4)]


def test_another_estimator_brings_its_own_options(settings, capsys):
    folder = train(settings({"training.steps": 1, "optimizer.warmup_steps": 0})).folder
    assert "batch_norm" in (folder / "config.yaml").read_text()
    code = main(["resume", str(folder), "--estimator.name=grpo", "--training.steps=2"])
    assert code == 0, capsys.readouterr().err
    assert "batch_norm" not in (folder / "config.yaml").read_text()


def test_a_reward_may_come_when_a_run_is_resumed(settings, prompt_file, capsys):
    held_out = {"evaluation": {"prompts": {"path": str(prompt_file), "limit": 2}}}
    folder = train(settings({"training.steps": 1, "optimizer.warmup_steps": 0, **held_out})).folder
    with pytest.warns(UserWarning, match=r"changes rewards.new.name from None to 'length'"):
        code = main(["resume", str(folder), "--training.steps=2", "--rewards.new={name: length, limit: 4}"])
    said = capsys.readouterr().err
    assert code == 0, said
    (row,) = (line for line in said.splitlines() if line.startswith("│ new"))
    assert [cell.strip() for cell in row.strip("│").split("│")][1] == "-", "it was not evaluated before"


def test_a_run_that_was_stopped_is_not_told_that_it_has_finished(settings):
    whole = train(settings({"training.steps": 3}))
    folder = RunFolder(whole.folder)
    folder.config.write_text(folder.config.read_text().replace("steps: 3", "steps: 40"))
    with pytest.raises(ConfigError, match=r"has done 3 of 40 steps already; .*--training.steps=40"):
        train(settings({"training.steps": 2}), resume=True)


@pytest.mark.parametrize("command", ["resume", "plugins"])
def test_help_is_no_argument(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"morl {command}" in capsys.readouterr().out


class TestTable:
    def test_rows_are_whole_after_every_write_and_floats_as_they_are(self, tmp_path):
        path = tmp_path / "logs" / "metrics.csv"
        table = MetricsFile(path)
        table.write(1, {"loss": 0.1, "b": 1e-9})
        table.write(2, {"loss": 0.30000000000000004})
        table.write(2, {"foreign": 3.0})
        table.write(3, {"loss": float("nan"), "foreign": 4.0})
        assert path.read_text().splitlines() == [
            "step,b,foreign,loss",
            "1,1e-09,,0.1",
            "2,,3.0,0.30000000000000004",
            "3,,4.0,nan",
        ]
        rows, faults = read_rows(path)
        assert not faults
        assert rows[1] == {"step": 2, "foreign": 3.0, "loss": 0.30000000000000004}

    def test_a_table_of_an_older_version_is_read_as_one_of_today(self, tmp_path):
        path = tmp_path / "metrics.csv"
        path.write_text("evaluation/short,loss,step\n0.5,,0\n,0.1,0\n0.6,,1\n,0.2,1\n")
        assert read_rows(path)[0] == [{"step": 1, "loss": 0.1}, {"step": 2, "loss": 0.2}]

    def test_lines_that_are_no_rows_are_named(self, tmp_path):
        path = tmp_path / "metrics.csv"
        path.write_bytes(b"step,loss\n1,0.5\nnonsense\n2,often\n3,0.5,7\n\x00\xff,1\n4,0.25\n")
        rows, faults = read_rows(path)
        assert [row["step"] for row in rows] == [1, 4]
        assert [*faults] == [3, 4, 5, 6]


def test_the_history_is_read_as_it_was_written(tmp_path):
    assert read_history(tmp_path / "config.history") == []
    (tmp_path / "config.history").write_text("- {step: 4, changed: {seed: [1, 2]}}\n")
    assert read_history(tmp_path / "config.history") == [Change(4, {"seed": [1, 2]})]
