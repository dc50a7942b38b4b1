"""What `morl serve-rollouts` refuses before it starts anything."""

from __future__ import annotations

import socket

import pytest

from morl.cli import main
from morl_vllm.installed import installed_engine


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.yaml"], "no config file 'missing.yaml'"),
        ([], "morl serve-rollouts:"),
        (["config.yaml", "--prot=1"], "--prot"),
        (["config.yaml", "--port=99999"], "port"),
        (["config.yaml", '--engine_args={"load_format": "auto"}'], "engine_args must not contain 'load_format'"),
    ],
)
def test_commands_that_cannot_be_run(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve-rollouts", *arguments]) == 2
    error = capsys.readouterr().err
    if "missing" in says and installed_engine() is None:
        says = "vLLM is not installed"  # which is reported first
    assert says in error


@pytest.mark.skipif(installed_engine() is None, reason="the engine is looked for first")
def test_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve-rollouts", "config.yaml", f"--port={port}"]) == 2
    error = capsys.readouterr().err
    assert f"cannot listen at 127.0.0.1:{port}: Address already in use; choose another --port" in error
