"""`morl serve-rollouts CONFIG`: a rollout server for the policy of a config."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import define, field, validators
from jsonargparse import ArgumentParser

from morl.config.load import merge, parse, read_yaml
from morl.errors import ConfigError, DataError
from morl.plugins import Registry
from morl.runtime.parts import build
from morl_vllm.folder import save_without_weights
from morl_vllm.installed import installed_engine, require_engine
from morl_vllm.server.guardian import guarded_children
from morl_vllm.server.key import VARIABLE, rollout_key
from morl_vllm.server.launch import launch
from morl_vllm.server.scratch import scratch_folder
from morl_vllm.settings import ON_SERVER, EngineOptions, refuse


@define(eq=False)
class ServeOptions(EngineOptions):
    """How a rollout server is started.

    Args:
        host: address to listen at; others than this machine's own can be reached from outside.
        port: to listen at.
        gpu_memory_utilization: share of the GPU's memory that the engine may take.

    Raises:
        ConfigError: engine arguments that would contradict morl.
    """

    host: str = "127.0.0.1"
    port: int = field(default=8000, validator=[validators.ge(1), validators.lt(2**16)])
    gpu_memory_utilization: float = field(default=0.9, validator=[validators.gt(0.0), validators.le(1.0)])

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        refuse(self.engine_args, ON_SERVER)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is interrupted.

    Args:
        arguments: `CONFIG [--option=value ...] [--section.key=value ...]`; those with a dot change the config.

    Raises:
        ConfigError: what the config, the options or the engine's version have wrong; a port in use; too little memory.
        DataError: a policy that cannot be loaded.
        RolloutError: the engine did not start, or died.
        KeyboardInterrupt: a signal to stop came before it served; afterwards that is how it ends well.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    overrides = [one for one in given if one.startswith("--") and "." in one.partition("=")[0]]
    path, options = _read([one for one in given if one not in overrides])
    require_engine(installed_engine())
    _check_port(options.host, options.port)
    with _interrupted_by_signals(), guarded_children(), scratch_folder("morl-vllm-") as folder:
        device, engine = _prepare(merge(read_yaml(path), overrides), options, str(folder))
        if rollout_key() is None:
            os.environ[VARIABLE] = secrets.token_urlsafe(32)
            print(f"export {VARIABLE}={os.environ[VARIABLE]}", flush=True)
        launch(device, {**engine, "model": str(folder), "host": options.host, "port": options.port})
    return 0


def _read(given: Sequence[str]) -> tuple[str, ServeOptions]:
    parser = ArgumentParser(
        prog="morl serve-rollouts",
        usage="morl serve-rollouts CONFIG [--option=value ...] [--section.key=value ...]",
        description=f"Start vLLM for the policy of CONFIG.  Trainers need the key in {VARIABLE}.",
        exit_on_error=False,
        default_env=False,
    )
    parser.add_argument("config", type=str, help="as for morl train; its policy is what counts")
    parser.add_class_arguments(ServeOptions, as_group=False)
    try:
        values = dict(vars(parser.parse_args(list(given))))
        path: str = values.pop("config")
        return path, ServeOptions(**values)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"morl serve-rollouts: {error}") from error


def _prepare(tree: dict[str, Any], options: ServeOptions, folder: str) -> tuple[str, dict[str, Any]]:
    """Puts config and tokenizer of the policy into the folder; the engine's device and arguments."""
    import torch
    from transformers import AutoConfig

    from morl.policy.load import check_model, load_tokenizer

    registry = Registry()
    config = parse(tree, registry)
    model = build(registry, "policy source", config.policy.name, config.policy.options, "policy").resolve()
    check_model(model)
    try:
        hf_config = AutoConfig.from_pretrained(model)
    except Exception as error:  # damaged files make transformers raise anything
        raise DataError(f"the config of {model!r} cannot be read: {type(error).__name__}: {error}") from error
    save_without_weights(hf_config, load_tokenizer(model), folder)
    from vllm.platforms import current_platform

    device = "cpu" if current_platform.is_cpu() else "cuda"
    return device, options.arguments(hf_config, getattr(torch, config.policy.dtype), device)


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(f"cannot listen at {host}:{port}: {error.strerror}; choose another --port") from error


class _Stop(SystemExit):
    """Not KeyboardInterrupt, which vLLM takes for the end of its wait for the engine, and then waits on."""


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """SIGTERM ends the server as Ctrl-C does, and either at once.

    Left to itself, SIGTERM would leave the folder behind; and `asyncio` would answer Ctrl-C after the engine's start.
    """

    def stop(*_: object) -> None:
        raise _Stop

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except _Stop:
        raise KeyboardInterrupt from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
