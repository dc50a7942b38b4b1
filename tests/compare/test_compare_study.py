"""Studies of tiny runs, from the command line to the report."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from processes import runs, until

from morl import train
from morl.cli import main
from morl.testing import CHAT_TEMPLATE

OUT = Path("out")
TWO_BY_TWO = ("--estimators", "grpo", "gdpo", "--seeds", "0", "1", "--jobs", "2")


def states(folder: Path = OUT) -> dict[str, str]:
    return {slug: record["state"] for slug, record in json.loads((folder / "cells.json").read_text()).items()}


def seconds(folder: Path = OUT) -> dict[str, float]:
    return {slug: record["seconds"] for slug, record in json.loads((folder / "cells.json").read_text()).items()}


def metrics(run: Path) -> list[dict[str, str]]:
    """What a run logged, but for how long things took."""
    with (run / "logs" / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in csv.DictReader(file)]


def first_evaluation(slug: str) -> dict[str, float]:
    return json.loads((OUT / "cells" / slug / "evaluation.json").read_text())[0]["metrics"]


def interrupt_when(condition: Callable[[], bool], number: signal.Signals) -> threading.Thread:
    """Sends this process a signal as soon as something is so, as a user or a batch system would."""

    def wait() -> None:
        deadline = time.monotonic() + 900
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


COUNTER = '''
class Counter:
    def reset(self, **row):
        return " Count."

    def add(self, n: int) -> int:
        """Adds.

        Args:
            n: what is added.
        """
        return n

    def get_reward(self):
        return {"first": 1.0, "second": 2.0}
'''


@pytest.mark.slow
def test_arms_with_conversations(compare, study):
    """The rewards of an environment are compared as others are."""
    Path("counter.py").write_text(COUNTER)
    Path("template.jinja").write_text(CHAT_TEMPLATE)
    chats = {"path": "prompts.jsonl", "chat": True, "chat_template": "template.jinja"}
    environment = {"name": "python", "factory": "counter.py:Counter", "reward_names": ["first", "second"]}
    held_out = {"prompts": {**chats, "limit": 2}}
    study |= {"prompts": chats, "environment": environment, "evaluation": held_out}
    Path("config.yaml").write_text(yaml.safe_dump(study))
    code, said = compare("--estimators", "grpo", "gdpo", "--seeds", "0", "--jobs", "1")
    assert code == 0, said
    assert set(states().values()) == {"finished"}
    for slug in ("grpo-seed0", "gdpo-seed0"):
        found = first_evaluation(slug)
        assert (found["first"], found["second"]) == (1.0, 2.0)
        assert float(metrics(OUT / "cells" / slug)[0]["conversation/turns"]) == 1.0
    assert "second" in (OUT / "report.html").read_text()


@pytest.mark.slow
def test_a_study_leaves_runs_a_report_and_a_record_and_only_grows(compare, study):
    code, said = compare(*TWO_BY_TWO)
    assert code == 0
    assert "4 runs in out; 2 at a time, each with 1 thread" in said
    assert "gdpo, seed 1: finished after" in said
    assert "report: out/report.html" in said
    assert set(states().values()) == {"finished"}
    for slug in ("grpo-seed0", "gdpo-seed0", "grpo-seed1", "gdpo-seed1"):
        run = OUT / "cells" / slug
        assert (run / "model" / "model.safetensors").is_file()
        assert not (run / "checkpoints").exists()
        assert (OUT / "logs" / f"{slug}.log").read_text().startswith("20")
    grid = yaml.safe_load((OUT / "grid.yaml").read_text())
    assert grid["command"] == "morl compare config.yaml " + " ".join(TWO_BY_TWO) + " --output out"
    assert grid["arms"] == {"grpo": {"estimator.name": "grpo"}, "gdpo": {"estimator.name": "gdpo"}}
    assert grid["seeds"] == [0, 1]
    assert grid["versions"]["torch"]
    assert grid["config"] == study

    # What is the same for all arms of a seed is so before training: the policy and the held-out prompts.
    for seed in (0, 1):
        assert first_evaluation(f"grpo-seed{seed}") == first_evaluation(f"gdpo-seed{seed}")
    assert first_evaluation("gdpo-seed0") != first_evaluation("gdpo-seed1")

    # A cell is what `morl train` makes of its config, to the last digit, though it ran in a forked process.
    tree = yaml.safe_load((OUT / "configs" / "gdpo-seed1.yaml").read_text())
    alone = train({**tree, "output": "alone"})
    assert metrics(alone.folder) == metrics(OUT / "cells" / "gdpo-seed1")

    # The same command finds everything done; with one more seed it runs that.
    before = seconds()
    code, said = compare(*TWO_BY_TWO)
    assert code == 0
    assert "4 of them finished before" in said
    assert seconds() == before
    code, said = compare("--estimators", "gdpo", "--seeds", "1", "2", "--keep", "nothing")
    assert code == 0
    assert "2 runs in out, 1 of them finished before" in said
    assert "3 further runs there are not part of this command" in said
    assert seconds() | before == seconds()
    assert not (OUT / "cells" / "gdpo-seed2" / "model").exists()
    results = json.loads((OUT / "results.json").read_text())
    assert "grpo" not in json.dumps(results["lines"])

    # A finished cell stays so without its model, and is not taken for another.
    code, said = compare("--estimators", "gdpo", "--seeds", "2")
    assert code == 0
    assert "1 of them finished before" in said
    assert main(["compare", "config.yaml", "--seeds", "2", "--output", "out", "--optimizer.lr=0.1"]) == 2


@pytest.mark.slow
def test_a_crash_is_reported_and_stops_nothing_and_is_tried_again(compare, arms):
    path = arms(
        {
            "refuses": {"rewards.bad": {"name": "python", "function": "rewards.py:refuses"}},
            "exits": {"rewards.bad": {"name": "python", "function": "rewards.py:exits"}},
            "mended": {"rewards.bad": {"name": "python", "function": "rewards.py:mended"}},
            "fine": {},
        }
    )
    code, said = compare("--arms", path, "--seeds", "3", "--jobs", "2")
    assert code == 1
    assert "refuses, seed 3: failed after" in said
    assert "the judge is away" in said
    assert "log: out/logs/refuses-seed3.log" in said
    assert "3 of 4 runs failed; their output is in out/logs" in said
    assert states() == {
        "refuses-seed3": "failed",
        "exits-seed3": "failed",
        "mended-seed3": "failed",
        "fine-seed3": "finished",
    }
    assert "the judge is away" in (OUT / "report.html").read_text()
    error = json.loads((OUT / "cells.json").read_text())["exits-seed3"]["error"]
    assert error.splitlines()[0] == "exit code 7"

    Path("mended.txt").touch()
    code, said = compare("--arms", path, "--seeds", "3", "--jobs", "2")
    assert code == 1
    assert "1 of them finished before" in said
    assert states()["mended-seed3"] == "finished"
    assert "Error" not in json.loads((OUT / "cells.json").read_text())["mended-seed3"]


def children(process: int) -> set[str]:
    """Ids of the processes that a process has started, and of theirs."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            parents[entry.name] = (entry / "stat").read_text().rpartition(")")[2].split()[1]
    found, more = set(), {str(process)}
    while more := {child for child, parent in parents.items() if parent in more}:
        found |= more
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_all_processes_and_the_same_command_goes_on(compare, study, number):
    slow = ("--rewards.slow={name: python, function: 'rewards.py:slow'}", "--training.steps=12")
    rows = Path("out/cells/gdpo-seed0/logs/metrics.csv")
    thread = interrupt_when(lambda: rows.exists() and len(rows.read_text().splitlines()) >= 4, number)
    code, said = compare("--seeds", "0", "1", "--jobs", "2", *slow)
    thread.join()
    assert code == 130
    assert "stopping 2 runs; once more to kill them" in said
    assert "stopped; the same command resumes the study:\n  morl compare config.yaml --seeds 0 1" in said
    assert states() == {"gdpo-seed0": "interrupted", "gdpo-seed1": "interrupted"}
    # A process that was killed on a busy machine takes a moment to be gone.
    started = [int(child) for child in Path("children.txt").read_text().split()]
    assert until(lambda: not any(map(runs, started))), "nothing that a cell started outlives it"
    first = seconds()["gdpo-seed0"]
    assert first > 1
    assert list(Path("out/cells/gdpo-seed0/checkpoints").glob("step-*.ckpt"))

    code, said = compare("--seeds", "0", "--jobs", "2", *slow)
    assert code == 0
    assert "morl resume out/cells/gdpo-seed0" in Path("out/logs/gdpo-seed0.log").read_text()
    assert seconds()["gdpo-seed0"] > first
    assert len([row for row in metrics(Path("out/cells/gdpo-seed0")) if row["loss"]]) == 12
    evaluations = json.loads(Path("out/cells/gdpo-seed0/evaluation.json").read_text())
    assert [row["step"] for row in evaluations] == [0, 12]


@pytest.mark.slow
def test_cells_of_several_processes_run_as_commands(compare):
    code, said = compare("--seeds", "0", "--trainer.devices=2", "--jobs", "1")
    assert code == 0, Path("out/logs/gdpo-seed0.log").read_text()
    assert "one at a time, each with 1 thread in 2 processes" in said
    assert len(metrics(Path("out/cells/gdpo-seed0"))) >= 2


@pytest.mark.slow
def test_no_cell_outlives_a_command_that_is_killed(compare, study, tmp_path):
    slow = ("--rewards.slow={name: python, function: 'rewards.py:slow'}", "--training.steps=90")
    command = [sys.executable, "-m", "morl", "compare", "config.yaml", "--seeds", "0", "1", "--jobs", "2", *slow]
    process = subprocess.Popen([*command, "--output", "out"], stderr=subprocess.PIPE)
    rows = Path("out/cells/gdpo-seed0/logs/metrics.csv")
    while not rows.exists() and process.poll() is None:
        time.sleep(0.1)
    assert main(["compare", "config.yaml", "--seeds", "0", "--output", "out", *slow]) == 2, "the folder is locked"
    cells = children(process.pid)
    assert cells
    process.kill()
    process.communicate()
    # Cells die at once, as fast as the machine is.
    assert until(lambda: not any(map(runs, map(int, cells)))), "a cell outlives the command"
    code, said = compare("--seeds", "0", "1", "--report_only", *slow)
    assert code == 0
    assert "no run is finished, so there is nothing to report" in said
