"""Commands of morl as processes that are forked off with everything imported, which takes longer than most small runs.

The ranks of a run are forked side by side and told who they are as `torchrun` tells them, so Lightning starts none.
What Lightning starts itself is tested in `tests/training/test_stopping.py`.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from attrs import frozen
from processes import free_port

PRELOADED = [
    "datasets",
    "morl.evaluation.run",
    "morl.policy.load",
    "morl.rollout.transformers",
    "morl.training.run",
    "transformers.models.qwen2.modeling_qwen2",
]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
LIMIT = 900.0
"""Seconds until a run is taken to hang."""
GRACE = 60.0
"""Seconds that the other ranks have once one has failed."""


@frozen
class Done:
    """How it ended: the exit code of the first rank that failed, else 0, and what all of them wrote."""

    returncode: int
    output: str


def run(command: Sequence[str | Path], folder: Path, *, ranks: int = 1, environment: Mapping[str, str] = {}) -> Done:
    """Runs `morl <arguments>`, or a script with arguments, in a process for every rank.

    Args:
        command: `morl` or the path of a script, and its arguments.
        folder: for the output.
        ranks: how many.
        environment: variables besides those of this process; `PYTHONPATH` is one folder.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    log = folder / f"output-{len(list(folder.glob('output-*')))}.txt"
    variables = {**dict.fromkeys(THREADS, "1"), "GLOO_SOCKET_IFNAME": "lo", **environment}
    if ranks > 1:
        variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(ranks)}
    started = []
    for rank in range(ranks):
        own = {**variables, "LOCAL_RANK": str(rank)} if ranks > 1 else variables
        process = context.Process(target=_process, args=([str(part) for part in command], log, own))
        process.start()
        started.append(process)
    codes = _ended(started)
    return Done(next((code for code in codes if code), 0), log.read_text(errors="replace"))


def _ended(processes: Sequence[ForkServerProcess]) -> list[int]:
    """Exit codes, first of those that ended first."""
    left, codes, limit = list(processes), [], LIMIT
    while left:
        ready = wait([process.sentinel for process in left], timeout=limit)
        if not ready:
            for process in left:
                process.kill()
            continue
        for process in [process for process in left if process.sentinel in ready]:
            process.join()
            codes.append(process.exitcode or 0)
            left.remove(process)
        if any(codes):
            limit = GRACE
    return codes


def _process(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    os.environ.update(environment)
    sys.path[:0] = [path for path in (environment.get("PYTHONPATH"),) if path]
    import torch
    from lightning.pytorch.utilities import rank_zero_only

    rank_zero_only.rank = int(environment.get("LOCAL_RANK", 0))  # which is read when Lightning is imported
    torch.set_num_threads(1)
    sys.argv[:] = command
    if command[0] != "morl":
        sys.path.insert(0, str(Path(command[0]).parent))
        runpy.run_path(command[0], run_name="__main__")
        return
    from morl.cli import main

    sys.exit(main(command[1:]))


def _end_with(sentinel: int) -> None:
    """Ends this process when the one that runs the tests has ended, however it did."""
    wait([sentinel])
    os._exit(1)
