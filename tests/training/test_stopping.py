"""SIGTERM, Ctrl-C and lost ranks, each with a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from processes import free_port

from morl import train
from morl.artifacts.folder import RunFolder
from morl.artifacts.table import read_rows

WAIT = 900
"""Seconds that end a hang; what is waited for takes a few."""

REWARDS = """
import os, pathlib, signal, time

calls = 0
if os.environ.get("AT") == os.environ.get("LOCAL_RANK", "0") + ":import":
    os.kill(os.getpid(), signal.SIGKILL)

def judge(completions, **columns):
    global calls
    calls += 1
    rank = os.environ.get("LOCAL_RANK", "0")
    if os.environ.get("AT") == f"{rank}:{calls}":
        pathlib.Path(os.environ["READY"]).touch()
        if os.environ["WHAT"] == "hang":
            time.sleep(3600)
        if os.environ["WHAT"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if os.environ["WHAT"] == "terminate":
            os.kill(os.getpid(), signal.SIGTERM)
            return [float(len(text)) for text in completions]
        raise RuntimeError("the judge is gone")
    return [float(len(text)) for text in completions]
"""

HANGS = """
import os, pathlib, time
from lightning.pytorch import Callback

class HangsInUpdate(Callback):
    # Between two optimizer steps of the third rollout batch.
    calls = 0
    def on_before_optimizer_step(self, trainer, module, optimizer):
        if int(module.finished_steps) == 2:
            self.calls += 1
            if self.calls == 3:
                pathlib.Path(os.environ["READY"]).touch()
                time.sleep(3600)

class PausesInUpdate(HangsInUpdate):
    # In the same place, until it may go on.
    def on_before_optimizer_step(self, trainer, module, optimizer):
        if int(module.finished_steps) == 2:
            self.calls += 1
            if self.calls == 3:
                ready = pathlib.Path(os.environ["READY"])
                ready.touch()
                while not ready.with_suffix(".go").exists():
                    time.sleep(0.05)

class SaysWhenItBegins(Callback):
    def on_train_batch_start(self, trainer, module, batch, index):
        pathlib.Path(os.environ["READY"]).touch()
"""


@pytest.fixture
def started(tmp_path, settings):
    """`started(changes, at, what)`: a running `morl train` with a judge that does something at one of its calls."""
    (tmp_path / "rewards.py").write_text(REWARDS)
    (tmp_path / "hangs.py").write_text(HANGS)
    judge = {"name": "python", "function": f"{tmp_path / 'rewards.py'}:judge", "on_failure": "raise"}
    processes = []

    def start(changes, at="", what="", command=("train",), model=()):
        config = settings({"rewards": {"judge": judge}, "training.checkpoint_every": 0, **changes})
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        environment = {
            **os.environ,
            "GLOO_SOCKET_IFNAME": "lo",
            "MASTER_PORT": str(free_port()),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(tmp_path),
            "READY": str(tmp_path / "ready"),
            "AT": at,
            "WHAT": what,
        }
        arguments = [sys.executable, "-m", "morl", *command, str(tmp_path / "config.yaml"), *model]
        process = subprocess.Popen(
            arguments,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return process, RunFolder(Path(config["output"])), config

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + WAIT
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, "never got there"
        time.sleep(0.1)


def steps_of(folder):
    return [path.name for path in folder.all_checkpoints()], [row["step"] for row in read_rows(folder.metrics)[0]]


@pytest.mark.slow
def test_sigterm_is_answered_while_a_reward_hangs(started, tmp_path):
    process, folder, _ = started({}, at="0:3", what="hang")
    wait_for(tmp_path / "ready", process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=WAIT)[0]
    assert process.returncode == 143, said
    assert f"morl resume {folder.path}" in said
    assert steps_of(folder) == (["step-000002.ckpt"], [1, 2])


@pytest.mark.slow
def test_sigterm_between_two_optimizer_steps_keeps_the_finished_step(started, tmp_path, weights_of, same_bits):
    changes = {"trainer.callbacks": [{"class_path": "hangs.HangsInUpdate"}]}
    process, folder, config = started(changes)
    wait_for(tmp_path / "ready", process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=WAIT)[0]
    assert process.returncode == 143, said
    assert steps_of(folder) == (["step-000002.ckpt"], [1, 2])
    config["trainer"]["callbacks"] = []
    whole = train(
        {**config, "output": str(tmp_path / "whole"), "training": {**config["training"], "checkpoint_every": 2}}
    )
    kept, expected = (torch.load(f.checkpoint(2), weights_only=True) for f in (folder, RunFolder(whole.folder)))
    assert same_bits(kept["state_dict"], expected["state_dict"])
    torch.testing.assert_close(kept["optimizer_states"], expected["optimizer_states"], rtol=0, atol=0)
    with pytest.warns(UserWarning, match="trainer.callbacks from"):
        resumed = train(config, resume=True)
    assert same_bits(weights_of(resumed.model), weights_of(whole.model))


@pytest.mark.slow
def test_without_a_backup_sigterm_waits_for_the_end_of_the_update(started, tmp_path):
    changes = {"trainer.callbacks": [{"class_path": "hangs.PausesInUpdate"}], "training.step_backup": False}
    process, folder, _ = started(changes)
    wait_for(tmp_path / "ready", process)
    process.send_signal(signal.SIGTERM)
    (tmp_path / "ready.go").touch()
    said = process.communicate(timeout=WAIT)[0]
    assert process.returncode == 143, said
    assert steps_of(folder) == (["step-000003.ckpt"], [1, 2, 3])


@pytest.mark.slow
def test_sigterm_is_answered_between_two_tokens(started, tmp_path):
    """Half a million tokens, one forward pass after the other: the end is not to be waited for."""
    endless = {"sampling.max_tokens": 4000, "training.prompts_per_step": 16, "training.group_size": 8}
    process, folder, _ = started({**endless, "trainer.callbacks": [{"class_path": "hangs.SaysWhenItBegins"}]})
    wait_for(tmp_path / "ready", process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=WAIT)[0]
    assert process.returncode == 143, said
    assert "no step was finished" in said
    assert not folder.path.exists(), "the same command works"


@pytest.mark.slow
def test_the_same_command_begins_again_after_a_kill_before_the_first_checkpoint(started, tmp_path, settings):
    process, folder, config = started({}, at="0:3", what="hang")
    wait_for(tmp_path / "ready", process)
    process.kill()
    process.wait()
    assert [row["step"] for row in read_rows(folder.metrics)[0]] == [1, 2]
    with pytest.warns(UserWarning, match="ended before its first checkpoint; it begins again"):
        result = train(config)
    assert [row["step"] for row in read_rows(RunFolder(result.folder).metrics)[0]] == [1, 2, 3, 4]


TWO = {"trainer.devices": 2, "trainer.strategy": "ddp"}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["error", "kill"])
def test_a_lost_rank_is_named_and_the_finished_steps_kept(started, tmp_path, what):
    process, folder, _ = started(TWO, at="1:3", what=what)
    said = process.communicate(timeout=WAIT)[0]
    assert process.returncode == 2, said
    if what == "kill":
        assert re.search(r"rank 1 \(process \d+\) was killed by SIGKILL, and the run ends with it", said), said
    else:  # the other ranks are told before it ends, so the first one says what happened
        assert re.search(r"rank 1 ended: reward 'judge' failed on .*the judge is gone", said), said
    assert f"morl resume {folder.path}" in said
    assert steps_of(folder) == (["step-000002.ckpt"], [1, 2])


@pytest.mark.slow
def test_all_ranks_of_a_sharded_policy_end_after_the_step_in_which_one_was_asked_to(started):
    """A checkpoint of shards takes all ranks, and SIGTERM finds them at different places."""
    process, folder, _ = started({**TWO, "trainer.strategy": "fsdp2"}, at="1:2", what="terminate")
    said = process.communicate(timeout=WAIT)[0]
    assert process.returncode == 143, said
    assert f"morl resume {folder.path}" in said
    assert steps_of(folder) == (["step-000002.ckpt"], [1, 2])


@pytest.mark.slow
def test_a_rank_that_is_lost_before_the_first_step_is_named(started):
    """Killed for want of memory while it loads the model, say, and the first waits for it in native code."""
    process, folder, _ = started(TWO, at="1:import")
    said = process.communicate(timeout=WAIT)[0]
    assert process.returncode == 2, said
    assert re.search(r"error: rank 1 \(process \d+\) was killed by SIGKILL, and the run ends with it", said), said
    assert not folder.all_checkpoints()


@pytest.mark.slow
def test_the_first_rank_keeps_its_steps_when_it_fails_itself(started, tmp_path):
    process, folder, config = started(TWO, at="0:3", what="error")
    said = process.communicate(timeout=WAIT)[0]
    assert process.returncode == 2, said
    assert "the judge is gone" in said
    assert steps_of(folder) == (["step-000002.ckpt"], [1, 2])
    result = train({**config, "trainer": {**config["trainer"], "devices": 1, "strategy": "auto"}}, resume=True)
    assert result.model.is_dir()


@pytest.mark.slow
def test_sigterm_reaches_every_rank(started, tmp_path):
    """Also while the first one waits for the others in native code, where no handler runs."""
    endless = {"rewards.judge.timeout": None}
    process, folder, _ = started({**TWO, **endless}, at="1:3", what="hang")
    wait_for(tmp_path / "ready", process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=WAIT)[0]
    assert process.returncode == 143, said
    assert said.count("stopped;") == 1, said
    assert steps_of(folder)[0] == ["step-000002.ckpt"]


@pytest.mark.slow
def test_an_evaluation_answers_sigterm(started, tmp_path, tiny_model, prompt_file):
    held_out = {"evaluation": {"prompts": {"path": str(prompt_file), "limit": 4}}}
    process, _, _ = started(held_out, at="0:1", what="hang", command=("evaluate",), model=(str(tiny_model),))
    wait_for(tmp_path / "ready", process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=WAIT)[0]
    assert process.returncode == 143, said
