"""vLLM's own server, with morl's authentication and routes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from morl.errors import ConfigError, MorlError, RolloutError, suggest


def launch(device: str, arguments: Mapping[str, Any]) -> None:
    """Serves until a signal ends it.

    Args:
        device: kind of the device that the engine runs on, `cpu` or `cuda`.
        arguments: of `vllm serve`, by the names of its parsed options.

    Raises:
        ConfigError: an argument that vLLM does not have; more memory than there is.
        RolloutError: the engine did not start, or died.
    """
    arguments = {
        **arguments,
        "middleware": ["morl_vllm.server.auth.AuthMiddleware"],
        "disable_uvicorn_access_log": True,
    }
    if device == "cpu":
        _check_memory(arguments)
        if _processes(arguments) == 1:
            arguments.setdefault("distributed_executor_backend", "uni")
    for name, value in environment(device, arguments).items():
        os.environ.setdefault(name, value)
    try:
        import uvloop  # type: ignore[import-not-found, unused-ignore]
        from vllm.entrypoints.launchers.cli_args import make_arg_parser
        from vllm.utils.argparse_utils import FlexibleArgumentParser

        parsed = make_arg_parser(FlexibleArgumentParser()).parse_args([])
        known = vars(parsed)
        for name, value in arguments.items():
            if name not in known:
                raise ConfigError(f"vLLM's server has no argument {name!r}{suggest(name, known)}")
            setattr(parsed, name, value)
        uvloop.run(_serve(parsed))
    except MorlError:
        raise
    except Exception as error:
        raise RolloutError(
            f"vLLM could not start: {type(error).__name__}: {error}\n  If this does not say why, the first error above"
            " does.  If memory is short, lower --kv_cache_gib (or --gpu_memory_utilization) or --max_model_len."
        ) from error


async def _serve(parsed: Any) -> None:
    """As `vllm.entrypoints.launchers.api_server.entry.run_server`, but a dead engine is an error."""
    from vllm.entrypoints.launchers.api_server.entry import build_and_serve, build_async_engine_client, setup_server

    address, listening = setup_server(parsed, reuse_port=False)
    with listening:
        async with build_async_engine_client(parsed) as engine:
            end = await build_and_serve(engine, address, listening, parsed)
        await end
    # By itself it ends only when it finds its engine dead, and then there is nothing left for it to shut down.
    if end.__name__ == "dummy_shutdown":
        raise RolloutError(
            "the engine of this rollout server died; the first error above says why.  Start the server again, and"
            " trainers will find it at their next sync"
        )


def _check_memory(arguments: Mapping[str, Any]) -> None:
    """The engine would find out after half a minute, and say so in the middle of its tracebacks."""
    from vllm.utils.cpu_resource_utils import get_memory_node_info, get_visible_memory_node

    wanted, workers = arguments["kv_cache_memory_bytes"] / 2**30, _processes(arguments)
    left = sum(get_memory_node_info(node).available_memory for node in get_visible_memory_node()) / 2**30
    if wanted * workers > left:
        raise ConfigError(
            f"kv_cache_gib is {wanted:g} for each of {workers} processes, and {left:.1f} GiB of memory are left on this"
            " machine: lower it"
        )


def environment(device: str, arguments: Mapping[str, Any]) -> dict[str, str]:
    """What the engine is to find, unless the user has set it."""
    found = {"VLLM_NO_USAGE_STATS": "1", "VLLM_WORKER_MULTIPROC_METHOD": "spawn"}
    if arguments.get("distributed_executor_backend") != "ray":
        # All its processes are on this machine, so nothing of it need be seen from outside.
        found["VLLM_HOST_IP"] = "127.0.0.1"
        if sys.platform == "linux":
            found["GLOO_SOCKET_IFNAME"] = "lo"
    if device == "cpu":
        found["TORCH_COMPILE_DISABLE"] = "1"  # compiles one small helper of the sampler for 14 seconds
        if arguments.get("distributed_executor_backend") == "uni":
            found["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # else it makes a process for the only worker
        else:
            from vllm.utils.cpu_resource_utils import get_visible_memory_node

            if _processes(arguments) > len(get_visible_memory_node()):
                # By itself it gives every process a NUMA node of its own, and refuses where there are not enough.
                found["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    return found


def _processes(arguments: Mapping[str, Any]) -> int:
    """How many compute for the engine."""
    return int(arguments.get("tensor_parallel_size", 1)) * int(arguments.get("pipeline_parallel_size", 1))
