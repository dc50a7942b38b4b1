"""The script for one GPU, tried on the CPU with a tiny model: every check runs, is right and says what it found."""

from __future__ import annotations

import json
from pathlib import Path

import forks
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.mark.slow
def test_every_check_runs_and_is_right(tmp_path: Path) -> None:
    answer = tmp_path / "gpu.json"
    options = ["--device", "cpu", "--size", "tiny", "--steps", "1", "--json", answer]
    done = forks.run([SCRIPT, *options], tmp_path)
    assert done.returncode == 0, done.output
    result = json.loads(answer.read_text())
    assert set(result["correctness"]) == {"packed", "ddp", "fsdp2", "resume", "rollout"}
    for found in result["correctness"].values():
        assert found["right"]
        assert 0 <= found["found"] <= found["limit"]
    figures = result["speed"]["qwen2-1m-random"]["morl"]
    assert figures["tokens_per_step"] == 2 * 8 * 8  # prompts, completions, tokens: the model never ends
    assert all(value > 0 for value in figures.values())
    assert result["environment"]["torch"]


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    done = forks.run([SCRIPT, "--json", tmp_path / "gpu.json"], tmp_path, environment=hidden)
    assert done.returncode != 0
    assert "torch finds no GPU here; --device cpu --size tiny" in done.output
