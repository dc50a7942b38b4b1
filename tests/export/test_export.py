"""Checkpoints of runs as models that plain transformers and peft load."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from morl import ConfigError, DataError, train
from morl.artifacts.folder import RunFolder
from morl.cli import main
from morl.export import export_run
from morl.training.checkpoint_files import write_whole

LOGITS = 1e-4
"""Of logits of a few units; merging adapters adds in another order: 1e-6 is seen."""


@pytest.fixture(scope="module")
def config(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("config")
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"the answer is {n}"}) + "\n" for n in range(8)))
    template = folder / "template.jinja"
    template.write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    return lambda output, **policy: {
        "seed": 1,
        "output": str(output),
        "policy": {"path": str(tiny_model), **policy},
        "prompts": {"path": str(prompts), "chat_template": str(template), "chat": True},
        "rewards": {"short": {"name": "regex", "pattern": "[ae]"}},
        "sampling": {"max_tokens": 8},
        "optimizer": {"lr": 1e-2},
        "training": {
            "steps": 2,
            "prompts_per_step": 4,
            "group_size": 4,
            "checkpoint_every": 1,
            "keep_checkpoints": 99,
            "export_every": 1,
        },
        "evaluation": {"prompts": {"path": str(prompts), "limit": 4}, "every": 1},
        "trainer": {"accelerator": "cpu", "devices": 1, "progress": False},
    }


@pytest.fixture(scope="module")
def full(config, tmp_path_factory):
    """A run that trains all weights."""
    return RunFolder(train(config(tmp_path_factory.mktemp("full") / "run")).folder)


@pytest.fixture(scope="module")
def adapted(config, tmp_path_factory):
    """A run that trains adapters."""
    return RunFolder(train(config(tmp_path_factory.mktemp("lora") / "run", lora={"rank": 4})).folder)


@pytest.fixture
def copied(tmp_path):
    """A run as if it had been stopped after its last checkpoint, to be changed."""

    def copy(run):
        target = tmp_path / "stopped"
        shutil.copytree(run.path, target, ignore=shutil.ignore_patterns("model", "exports"))
        return RunFolder(target)

    return copy


@torch.no_grad()
def logits(model):
    ids = torch.arange(2, 12)[None]
    return (AutoModelForCausalLM.from_pretrained(model) if isinstance(model, Path) else model)(ids).logits


@pytest.mark.parametrize("kind", ["full", "adapted"])
def test_every_checkpoint_gives_the_model_that_the_run_exported_at_that_step(kind, request, copied):
    run = request.getfixturevalue(kind)
    stopped = copied(run)
    for step in (1, 2):
        written = export_run(stopped.path, step=step)
        assert written == stopped.export(step)
        torch.testing.assert_close(logits(written), logits(run.export(step)), atol=LOGITS, rtol=0)
    assert (logits(run.export(1)) - logits(run.export(2))).abs().max() > 100 * LOGITS, "the steps differ"
    torch.testing.assert_close(logits(run.model), logits(run.export(2)), atol=0, rtol=0)
    tokenizer = AutoTokenizer.from_pretrained(stopped.export(1))
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"


def test_the_adapter_alone_is_read_by_peft(adapted, copied, tiny_model):
    written = export_run(copied(adapted).path, adapter=True)
    assert not list(written.glob("model*.safetensors"))
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    torch.testing.assert_close(
        logits(PeftModel.from_pretrained(base, written)), logits(adapted.model), atol=LOGITS, rtol=0
    )


def test_the_newest_sound_checkpoint_is_exported_and_nothing_of_the_run_touched(full, copied):
    stopped = copied(full)
    stopped.checkpoint(2).write_bytes(b"torn")
    before = {path: path.stat().st_mtime_ns for path in stopped.path.rglob("*") if path.is_file()}
    with pytest.warns(UserWarning, match="step-000002.ckpt is not what was written.*the checkpoint before it is taken"):
        assert export_run(stopped.path) == stopped.export(1)
    after = {path: path.stat().st_mtime_ns for path in before}
    assert before == after


def test_the_command_says_what_it_wrote(full, copied, tmp_path, capsys):
    stopped = copied(full)
    assert main(["export", str(stopped.path), "--step", "1", "--output", str(tmp_path / "mine")]) == 0
    assert capsys.readouterr().out == f"step 1 of {stopped.path}: {tmp_path / 'mine'}\n"
    torch.testing.assert_close(logits(tmp_path / "mine"), logits(full.export(1)), atol=0, rtol=0)
    assert main(["export", "--help"]) == 0
    assert "--adapter" in capsys.readouterr().out


def test_a_place_that_cannot_be_written_to_is_one_line(full, copied, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["export", str(copied(full).path), "--output", str(tmp_path / "file" / "model")]) == 2
    said = capsys.readouterr().err
    assert f"error: {tmp_path / 'file'}: File exists (FileExistsError; --traceback shows where)" in said
    assert "Traceback" not in said


def test_a_card_says_what_the_model_was_trained_on(full, copied):
    text = (export_run(copied(full).path) / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert head == {"library_name": "transformers", "tags": ["reinforcement-learning", "morl"]}
    evaluation = json.loads(full.evaluation.read_text())
    means = [f"{evaluation[at]['metrics']['short']:.3f}" for at in (0, -1)]
    assert f"| short | `regex` | 1.0 | {' | '.join(means)} |" in text
    assert "estimator: `gdpo`" in text
    assert str(full.path.parent) not in text, "paths of the machine are nobody's business"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"step": 7}, "--step 7: .* has no checkpoint of this step; it has those of 1, 2"),
        ({"adapter": True}, "trains all weights and has no adapter"),
        ({"output": "."}, "exists already; choose a new folder"),
        ({"overrides": ["--seed=3"]}, "--seed has no effect on what is exported"),
        ({"overrides": ["--policy.path=nowhere/at/all"]}, "no model at 'nowhere/at/all'"),
    ],
)
def test_what_cannot_be_exported_is_refused(full, copied, options, said):
    with pytest.raises((ConfigError, DataError), match=said):
        export_run(copied(full).path, **options)


def test_a_folder_without_a_run_or_a_checkpoint_is_refused(full, copied, tmp_path):
    with pytest.raises(ConfigError, match="is not the folder of a run: it has no config"):
        export_run(tmp_path)
    with pytest.raises(ConfigError, match="morl export needs the folder of a run"):
        main(["export", "--traceback"])
    stopped = copied(full)
    for path in stopped.checkpoints.iterdir():
        path.write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="empty"),
        pytest.raises(ConfigError, match="every checkpoint in"),
    ):
        export_run(stopped.path)
    with pytest.raises(DataError, match="is empty; export another step"):
        export_run(stopped.path, step=1)
    shutil.rmtree(stopped.checkpoints)
    with pytest.raises(ConfigError, match="has no checkpoint, and so nothing to export yet"):
        export_run(stopped.path)
    shutil.copytree(full.model, stopped.model)
    with pytest.raises(ConfigError, match=r"has no checkpoint; its final model is in .*model"):
        export_run(stopped.path)


def test_weights_of_another_model_are_refused(full, adapted, copied, make_model_folder, tmp_path):
    other = make_model_folder(tmp_path / "other", text="another text " * 20, hidden_size=16)
    stopped = copied(full)
    with pytest.raises(ConfigError, match=r"does not hold the weights of .*other: .* differ in name or shape"):
        export_run(stopped.path, overrides=[f"--policy.path={other}"])
    shutil.rmtree(stopped.path)
    text = "the answer is a number: 0 1 2 3 4 5 6 7 8 9. yes no <think> </think> <answer> </answer> " * 20
    same_shape = make_model_folder(tmp_path / "same", text=text, seed=5)
    with pytest.raises(ConfigError, match="is not the one that the adapters of this checkpoint were trained on"):
        export_run(copied(adapted).path, overrides=[f"--policy.path={same_shape}"])


def test_the_best_model_is_kept_and_says_which_it_is(config, tmp_path):
    tree = config(tmp_path / "run")
    tree["training"] |= {"keep_best": "short", "steps": 3}
    folder = RunFolder(train(tree).folder)
    means = {row["step"]: row["metrics"]["short"] for row in json.loads(folder.evaluation.read_text())}
    best = max(means, key=lambda step: (means[step], -step))
    assert json.loads((folder.best / "morl.json").read_text()) == {"step": best, "best": "short", "mean": means[best]}
    if best:
        torch.testing.assert_close(logits(folder.best), logits(folder.export(best)), atol=0, rtol=0)


def test_a_resumed_run_keeps_a_better_model_of_its_past(config, tmp_path):
    tree = config(tmp_path / "run")
    tree["training"] |= {"keep_best": "short"}
    folder = RunFolder(train(tree).folder)
    note = {"step": 1, "best": "short", "mean": 2.0}
    (folder.best / "morl.json").write_text(json.dumps(note))
    tree["training"]["steps"] = 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(tree, resume=True)
    assert json.loads((folder.best / "morl.json").read_text()) == note


def test_the_best_is_that_of_the_reward_that_is_asked_for_now(config, tmp_path):
    """A mean of another reward says nothing, and neither may a worse model pass for the best."""
    tree = config(tmp_path / "run")
    folder = RunFolder(train(tree).folder)
    row = json.loads(folder.evaluation.read_text())[-1]
    folder.evaluation.write_text(json.dumps([{**row, "step": 0, "metrics": {"short": 1e9}}, row]))
    folder.best.mkdir()
    (folder.best / "morl.json").write_text(json.dumps({"step": 1, "best": "other", "mean": -1.0}))
    tree["training"] |= {"keep_best": "short", "steps": 3}
    with pytest.warns(UserWarning, match="keep_best=short: the highest mean until now is 1e[+]09, after step 0"):
        train(tree, resume=True)
    assert json.loads((folder.best / "morl.json").read_text())["best"] == "other", "nothing was better"


def test_an_export_of_a_checkpoint_that_was_written_anew_is_made_anew(full, copied):
    folder = copied(full)
    made = export_run(folder.path)
    before = (made / "morl.json").read_text()
    assert export_run(folder.path) == made
    assert (made / "morl.json").read_text() == before
    content = torch.load(folder.checkpoint(2), weights_only=True)
    name = next(name for name in content["state_dict"] if name.startswith("policy."))
    content["state_dict"][name] += 1.0
    write_whole(folder.checkpoint(2), lambda draft: torch.save(content, draft))
    stale = logits(made)
    assert export_run(folder.path) == made
    assert not torch.equal(logits(made), stale)
    shutil.rmtree(made)
    made.mkdir()
    (made / "mine.txt").write_text("not morl's")
    with pytest.raises(ConfigError, match="exists already"):
        export_run(folder.path)


@pytest.mark.parametrize(
    ("reward", "evaluation", "said"),
    [
        ("shrt", True, "training.keep_best=shrt: there is no reward of this name; did you mean 'short'"),
        ("short", False, "training.keep_best=short needs held-out prompts"),
    ],
)
def test_the_best_by_what_is_not_evaluated_is_refused(config, tmp_path, reward, evaluation, said):
    tree = config(tmp_path / "run")
    tree["training"]["keep_best"] = reward
    if not evaluation:
        del tree["evaluation"]
    with pytest.raises(ConfigError, match=said):
        train(tree)


def test_a_stopped_run_is_evaluated_by_itself(full, copied, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    stopped = copied(full)
    assert main(["evaluate", str(stopped.path), "--output", str(stopped.path / "figures.json")]) == 0
    assert f"model: {stopped.export(2)}" in capsys.readouterr().out
    found = json.loads((stopped.path / "figures.json").read_text())
    expected = json.loads(full.evaluation.read_text())[-1]["metrics"]["short"]
    assert found["rewards"]["short"]["mean"]["mean"] == pytest.approx(expected, abs=1e-9)
    assert main(["evaluate", str(full.path)]) == 0
    assert f"model: {full.model}" in capsys.readouterr().out, "a finished one has its model"
