"""Rewards in whole runs: broken ones end them, groups come whole, rows are routed, sources are mixed."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from processes import runs, until

from morl import ConfigError, DataError, RewardError, train
from morl.reward import FunctionReward, RewardEntry, When

GRADERS = """
import json, os, time

def wrong_column(completions, answer, **columns):
    return [float(columns["expected"][row] in text) for row, text in enumerate(completions)]

def fails_after_two_steps(completions, **columns):
    STEPS.append(None)
    if len(STEPS) > 2:
        raise OSError("judge is down")
    return [float(len(text)) for text in completions]

STEPS = []

def waits(solution_str, ground_truth):
    with open(os.environ["NOTE"], "a") as file:
        print(os.getpid(), file=file)
    time.sleep(3600)

def groups(completions, prompts, **columns):
    sizes = {}
    for prompt in prompts:
        sizes[prompt] = sizes.get(prompt, 0) + 1
    with open(os.path.join(os.environ["NOTES"], os.environ.get("LOCAL_RANK", "0")), "a") as file:
        print(json.dumps([*sizes.values()]), file=file)
    return [float(len(text)) for text in completions]
"""


@pytest.fixture
def graders(tmp_path):
    (tmp_path / "graders.py").write_text(GRADERS)
    return str(tmp_path / "graders.py")


def held_out(prompt_file, **options):
    return {"prompts": {"name": "jsonl", "path": str(prompt_file), "limit": 6}, **options}


# Broken rewards ------------------------------------------------------------------------------------------------------


def test_a_reward_with_a_wrong_column_ends_the_run_on_its_first_step(settings, graders):
    rewards = {
        "right": {"name": "python", "function": f"{graders}:wrong_column"},
        "short": {"name": "length", "limit": 8},
    }
    with pytest.raises(
        RewardError, match=r"(?s)'right' failed on all 24 .*first step.*answer: '\d+'.*KeyError: 'expected'"
    ):
        train(settings({"rewards": rewards}))


def test_a_reward_that_breaks_later_ends_the_run_after_so_many_steps(settings, graders):
    broken = {"name": "python", "function": f"{graders}:fails_after_two_steps", "max_failed_steps": 2}
    with pytest.raises(RewardError, match=r"'late' failed 2 steps in a row(?s:.*)OSError: judge is down"):
        train(settings({"rewards.late": broken, "training.steps": 9}))
    with pytest.raises(ConfigError, match="max_failed_steps"):
        train(settings({"rewards.late": {**broken, "max_failed_steps": 0}}))


def test_a_broken_reward_ends_the_run_with_its_evaluation_before_the_first_step(settings, graders, prompt_file):
    right = {"name": "python", "function": f"{graders}:wrong_column"}
    with pytest.raises(RewardError, match=r"'right' failed on all 6 completions of its first step"):
        train(settings({"rewards.right": right, "evaluation": held_out(prompt_file)}))


def test_all_ranks_end_together(settings, graders, tmp_path, run_cli):
    """And a reward that fails under `raise` on one rank alone ends the other, too."""
    two = {
        "trainer.devices": 2,
        "trainer.strategy": "ddp",
        "rewards.right": {"name": "python", "function": f"{graders}:wrong_column"},
    }
    done = run_cli(settings(two), tmp_path)
    assert done.returncode == 2, done.output
    assert "'right' failed on all 24 completions of its first step" in done.output, "both ranks' 12 count together"
    assert "KeyError: 'expected'" in done.output

    (tmp_path / "alone.py").write_text(
        "import os\n"
        "def second(completions, **columns):\n"
        "    if os.environ.get('LOCAL_RANK') == '1':\n"
        "        raise OSError('judge is down')\n"
        "    return [1.0] * len(completions)\n"
    )
    alone = {"name": "python", "function": f"{tmp_path}/alone.py:second", "on_failure": "raise"}
    done = run_cli(settings({**two, "rewards.right": alone, "output": str(tmp_path / "other")}), tmp_path)
    assert done.returncode == 2, done.output
    assert "judge is down" in done.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_worker_process_outlives_a_run_that_is_stopped(settings, graders, tmp_path, number):
    right = {"name": "python", "function": f"{graders}:waits", "isolate": "process", "timeout": 2.0}
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(f'{{"prompt": "the answer {n}", "ground_truth": "4"}}\n' for n in range(12)))
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(settings({"rewards.right": right, "prompts.path": str(prompts)}))
    )
    note = tmp_path / "pid"
    command = [sys.executable, "-m", "morl", "train", str(tmp_path / "config.yaml")]
    with subprocess.Popen(command, env={**os.environ, "NOTE": str(note)}, stderr=subprocess.PIPE, text=True) as run:
        while not (note.is_file() and note.read_text()) and run.poll() is None:
            time.sleep(0.05)
        assert run.poll() is None, run.stderr.read()
        run.send_signal(number)
        try:  # Lightning lets a step come to its end before it heeds SIGTERM
            run.communicate(timeout=300)
        finally:
            run.kill()
    workers = {int(line) for line in note.read_text().splitlines()}
    assert until(lambda: not any(map(runs, workers)))


# Groups, rows, sources -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "calls"),
    [
        ({"training.micro_batch_tokens": 1, "training.mini_batches": 3}, {"0": [[4] * 6] * 2}),
        ({"trainer.devices": 2, "trainer.strategy": "ddp"}, {"0": [[4] * 3] * 2, "1": [[4] * 3] * 2}),
    ],
    ids=["micro-batches", "two-ranks"],
)
def test_a_call_has_all_completions_of_its_prompts(settings, graders, tmp_path, run_cli, changes, calls):
    (tmp_path / "notes").mkdir()
    reward = {"name": "python", "function": f"{graders}:groups"}
    config = settings({"training.steps": 2, "rewards.all": reward, **changes})
    done = run_cli(config, tmp_path, NOTES=str(tmp_path / "notes"))
    assert done.returncode == 0, done.output
    found = {f.name: [json.loads(line) for line in f.read_text().splitlines()] for f in (tmp_path / "notes").iterdir()}
    assert found == calls


def test_rows_are_routed_and_the_coverage_is_that_of_the_rows_asked(settings, tmp_path, rows_of):
    tasks = ["math", "chat"] * 6
    (tmp_path / "p.jsonl").write_text(
        "".join(json.dumps({"prompt": f"the answer {n}", "task": t}) + "\n" for n, t in enumerate(tasks))
    )
    asked = []

    def always(completions, task, **columns):
        asked.extend(task)
        return [1.0] * len(completions)

    entry = RewardEntry(FunctionReward(always), when=When.of({"column": "task", "is": "math"}))
    changes = {
        "training.steps": 2,
        "prompts.path": str(tmp_path / "p.jsonl"),
        "evaluation": held_out(tmp_path / "p.jsonl"),
    }
    result = train(settings(changes), rewards={"math": entry})
    assert set(asked) == {"math"}
    for row in rows_of(result):
        assert 0 < float(row["reward/math/missing"]) < 1
    written = json.loads((result.folder / "evaluation.json").read_text())
    assert written[0]["metrics"]["math/scored"] == 1.0, "of the rows that it applies to"
    assert written[0]["metrics"]["short/scored"] == 1.0
    assert set(written[0]["scored"]) == {"math"}
    assert written[0]["scored"] == written[-1]["scored"], "rows decide, so the two evaluations can be compared"


@pytest.mark.parametrize(
    ("when", "error", "message"),
    [
        (
            {"column": "answer", "is": "none of these"},
            DataError,
            "rewards.math.when: no prompt has such a value; column 'answer' has '0', '1'",
        ),
        ({"column": "answr", "is": "1"}, DataError, r"no column 'answr'; did you mean 'answer'\?"),
        ({"column": "answer"}, ConfigError, r"rewards.math: `when` must be \{column: NAME, is: VALUE\}"),
        ({"column": "answer", "is": []}, ConfigError, "`is` of `when` must be"),
    ],
)
def test_routes_that_lead_nowhere_are_refused(settings, when, error, message):
    with pytest.raises(error, match=message):
        train(settings({"rewards.math": {"name": "length", "limit": 8, "when": when}}))


def mixed(tmp_path, **changes):
    for name, count in (("math", 12), ("chat", 4)):
        rows = [{"prompt": f"{name} the answer {n}", "answer": str(n)} for n in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = {name: {"name": "jsonl", "path": str(tmp_path / f"{name}.jsonl")} for name in ("math", "chat")}
    sources["math"]["weight"] = 2
    return {"name": "mixture", "sources": sources, **changes}


def test_two_sources_are_mixed_by_weight_with_figures_of_each(settings, tmp_path, rows_of):
    prompts = mixed(tmp_path)
    right = {"name": "exact-match", "column": "answer", "when": {"column": "source", "is": "math"}}
    changes = {
        "prompts": prompts,
        "training.steps": 3,
        "rewards.right": right,
        "evaluation": {"prompts": prompts},
        "training.checkpoint_every": 1,
        "training.prompts_per_step": 6,
    }
    whole = train(settings(changes))
    rows = rows_of(whole)
    shares = [float(row["source_share/math"]) for row in rows]
    assert sum(shares) / 3 == pytest.approx(2 / 3), "3 steps of 6 prompts are one epoch of 12 + 6"
    for row in rows:
        parts = [float(row[f"source_share/{s}"]) * float(row[f"source/{s}/short"]) for s in ("math", "chat")]
        assert sum(parts) == pytest.approx(float(row["reward/short/mean"]))
        assert row["source/chat/right"] in ("", "nan")
    metrics = whole.evaluations[0]
    assert metrics["source_share/chat"] == pytest.approx(1 / 3)
    assert set(metrics) >= {"source/math/short", "source/chat/vowel"}


def test_a_resumed_run_finds_the_same_mixture(settings, tmp_path, weights_of, same_bits):
    changes = {"prompts": mixed(tmp_path), "training.checkpoint_every": 1}
    whole = train(
        settings({**changes, "training.steps": 4, "output": str(tmp_path / "whole"), "optimizer.schedule": "constant"})
    )
    part = settings(
        {**changes, "training.steps": 2, "output": str(tmp_path / "part"), "optimizer.schedule": "constant"}
    )
    train(part)
    resumed = train({**part, "training": {**part["training"], "steps": 4}}, resume=True)
    assert same_bits(weights_of(whole.model), weights_of(resumed.model))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"sources": {}}, ConfigError, "sources must name at least one"),
        ({"sources": {"a": {"name": "jsonl"}}}, ConfigError, r"prompts.sources.a.*path"),
        (
            {"sources": {"a": {"name": "jsonl", "path": "x", "limt": 3}}},
            ConfigError,
            r"unknown key 'prompts.sources.a.limt'; did you mean 'limit'",
        ),
        ({"sources": {"a": {"name": "jsonl", "path": "x", "limit": "three"}}}, ConfigError, r"prompts.sources.a.limit"),
        ({"sources": {"a": {"path": "x"}}}, ConfigError, "prompts.sources.a must be a mapping with the `name`"),
        ({"sources": ["a"]}, ConfigError, "sources"),
        ({"column": "answer"}, DataError, "the prompts of source 'math' have a column 'answer' of their own"),
    ],
)
def test_wrong_mixtures_are_refused(settings, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        train(settings({"prompts": {**mixed(tmp_path), **changes}}))


@pytest.mark.parametrize("weight", [0, -1, True, float("inf"), "2"])
def test_a_weight_is_a_positive_number(settings, tmp_path, weight):
    prompts = mixed(tmp_path)
    prompts["sources"]["math"]["weight"] = weight
    with pytest.raises(ConfigError, match="the weight of source 'math' must be a positive number"):
        train(settings({"prompts": prompts}))


# Conditions ----------------------------------------------------------------------------------------------------------


def test_a_conditioned_reward_is_logged_as_the_estimator_sees_it(settings, rows_of, caplog):
    """`vowel` differs within groups, but its condition is never reached: dead in every group, and it is said."""
    rewards = {
        "never": {"name": "regex", "pattern": "this is never said"},
        "vowel": {"name": "regex", "pattern": "[ae]"},
        "short": {"name": "length", "limit": 8},
    }
    estimator = {"name": "conditioned-gdpo", "conditions": {"vowel": {"on": "never"}}}
    with caplog.at_level(logging.WARNING):
        result = train(settings({"rewards": rewards, "estimator": estimator, "training.steps": 3}))
    for row in rows_of(result):
        assert float(row["reward/vowel/dead_groups"]) < 1
        assert float(row["reward/vowel/conditioned_dead_groups"]) == 1
        assert float(row["reward/vowel/conditioned_mean"]) == float(row["reward/vowel/conditioned_std"]) == 0
        assert float(row["reward/vowel/counted"]) == 0
        assert "reward/short/counted" not in row
    told = [record.getMessage() for record in caplog.records]
    assert sum("step 1: the conditioned reward 'vowel' counted for no completion" in text for text in told) == 1
    assert any("step 2:" in text and "(2 steps in a row)" in text for text in told)
    assert any("the conditioned reward 'vowel' never counted" in text for text in told)


def test_steps_without_any_advantage_are_told(settings, caplog):
    with caplog.at_level(logging.WARNING):
        train(settings({"rewards": {"never": {"name": "regex", "pattern": "this is never said"}}, "training.steps": 1}))
    assert "step 1: every advantage is 0" in caplog.text
