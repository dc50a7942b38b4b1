"""`morl serve-rollouts CONFIG`: a rollout server for the policy of a config."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from attrs import define, field, validators
from jsonargparse import ArgumentParser

from morl.config.load import merge, parse, read_yaml
from morl.errors import ConfigError
from morl.plugins import Registry
from morl.training.parts import build
from morl_vllm.folder import save_without_weights
from morl_vllm.installed import installed_engine, require_engine
from morl_vllm.server.key import VARIABLE, rollout_key
from morl_vllm.settings import EngineOptions


@define(eq=False)
class ServeOptions(EngineOptions):
    """How a rollout server is started.

    Args:
        host: address to listen at; others than this machine's own can be reached from outside.
        port: to listen at.
        gpu_memory_utilization: share of the GPU's memory that the engine may take.
    """

    host: str = "127.0.0.1"
    port: int = field(default=8000, validator=[validators.ge(1), validators.lt(2**16)])
    gpu_memory_utilization: float = field(default=0.9, validator=[validators.gt(0.0), validators.le(1.0)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is interrupted.

    Args:
        arguments: `CONFIG [--option=value ...] [--section.key=value ...]`; those with a dot change the config.

    Raises:
        ConfigError: what the config, the options or the engine's version have wrong; a port in use.
    """
    parser = ArgumentParser(
        prog="morl serve-rollouts",
        usage="morl serve-rollouts CONFIG [--option=value ...] [--section.key=value ...]",
        description=f"Start vLLM for the policy of CONFIG.  Trainers need the key in {VARIABLE}.",
        exit_on_error=False,
        default_env=False,
    )
    parser.add_argument("config", type=str, help="as for morl train; its policy is what counts")
    parser.add_class_arguments(ServeOptions, as_group=False)
    given = list(sys.argv[1:] if arguments is None else arguments)
    overrides = [one for one in given if one.startswith("--") and "." in one.partition("=")[0]]
    try:
        values = dict(vars(parser.parse_args([one for one in given if one not in overrides])))
    except Exception as error:
        raise ConfigError(f"morl serve-rollouts: {error}") from error
    path = values.pop("config")
    try:
        options = ServeOptions(**values)
    except ValueError as error:
        raise ConfigError(f"morl serve-rollouts: {error}") from error
    require_engine(installed_engine())
    _check_port(options.host, options.port)
    with tempfile.TemporaryDirectory(prefix="morl-vllm-") as folder:
        arguments_of_engine = _prepare(merge(read_yaml(path), overrides), options, folder)
        if rollout_key() is None:
            os.environ[VARIABLE] = secrets.token_urlsafe(32)
            print(f"export {VARIABLE}={os.environ[VARIABLE]}", flush=True)
        _run(folder, options, arguments_of_engine)
    return 0


def _prepare(tree: dict[str, Any], options: ServeOptions, folder: str) -> dict[str, Any]:
    """Config and tokenizer of the policy, and the arguments of its engine."""
    import torch
    from transformers import AutoConfig

    from morl.policy.load import check_model, load_tokenizer

    registry = Registry()
    config = parse(tree, registry)
    model = build(registry, "policy source", config.policy.name, config.policy.options, "policy").resolve()
    check_model(model)
    hf_config = AutoConfig.from_pretrained(model)
    save_without_weights(hf_config, load_tokenizer(model), folder)
    from vllm.platforms import current_platform

    device = "cpu" if current_platform.is_cpu() else "cuda"
    arguments = options.arguments(hf_config, getattr(torch, config.policy.dtype), device)
    if device == "cpu" and arguments.get("tensor_parallel_size", 1) == 1:
        arguments["distributed_executor_backend"] = "uni"  # one process less, and no threads bound to cores
    return arguments


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(f"cannot listen at {host}:{port}: {error.strerror}; choose another --port") from error


def _run(folder: str, options: ServeOptions, arguments: dict[str, Any]) -> None:
    """vLLM's own server, with morl's door in front of it."""
    environment = {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "TORCH_COMPILE_DISABLE": "1" if arguments.get("block_size") == 32 else "0",
    }
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    import uvloop  # type: ignore[import-not-found, unused-ignore]
    from vllm.entrypoints.launchers.api_server.entry import run_server
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args([])
    known = vars(parsed)
    for name, value in {
        **arguments,
        "model": folder,
        "host": options.host,
        "port": options.port,
        "middleware": ["morl_vllm.server.door.Door"],
        "disable_uvicorn_access_log": True,
    }.items():
        if name not in known:
            raise ConfigError(f"vLLM's server has no argument {name!r}")
        setattr(parsed, name, value)
    uvloop.run(run_server(parsed))
