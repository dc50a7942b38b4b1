"""Isolation of vLLM in the trainer's process: what it changes there is put back after every call.

An engine that starts in a process seeds the global random generators, disables `torch.set_num_threads`, resets the
precision of float32 products, sets environment variables that child processes would inherit (`LD_PRELOAD` among them),
takes every living object from the garbage collector, has every traceback printed with a rank, and ends the process
group of a distributed run when it shuts down.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from attrs import define, field

REPLACED: tuple[tuple[Any, str], ...] = (
    (torch, "set_num_threads"),
    (torch.accelerator, "synchronize"),
    (torch.accelerator, "empty_cache"),
)
"""Functions in whose place the engine on CPUs puts others that do nothing, and which it then calls."""


@define(eq=False)
class ProcessIsolation:
    """Lets the engine work in the process as it wants it, and the trainer in the process as it had it.

    Args:
        environment: variables that the engine finds set, or missing where the value is None.
        eager: run functions under `torch.compile` as they are written; on a CPU the engine would spend 14 seconds of
            its first call on compiling one small helper of its sampler.
    """

    _environment: Mapping[str, str | None]
    eager: bool
    _functions: dict[tuple[Any, str], Any] = field(init=False, factory=dict)
    _world: Any = field(init=False, factory=lambda: dist.group.WORLD if dist.is_initialized() else None)

    @contextmanager
    def at_work(self, *, leaving: bool = False) -> Iterator[None]:
        """Whatever is called on the engine is called within this.

        Args:
            leaving: it ends, so that its objects have to be collected.
        """
        with ExitStack() as stack:
            for keep in (random_state, threads, plain_numerics):
                stack.enter_context(keep())
            stack.enter_context(garbage_collection(spare=not leaving))
            stack.enter_context(_kept_alive(self._world))
            # A process group that starts puts the rank before every line of a traceback, for good.
            stack.enter_context(_replaced(sys, "excepthook", sys.excepthook))
            stack.enter_context(self._own_functions())
            stack.enter_context(self._own_environment())
            if self.eager:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield

    @contextmanager
    def _own_functions(self) -> Iterator[None]:
        trainers = {place: getattr(*place) for place in REPLACED}
        for (module, name), function in self._functions.items():
            setattr(module, name, function)
        try:
            yield
        finally:
            self._functions = {place: getattr(*place) for place in REPLACED}
            for (module, name), function in trainers.items():
                setattr(module, name, function)

    @contextmanager
    def _own_environment(self) -> Iterator[None]:
        trainers = dict(os.environ)
        _set_environment(self._environment)
        try:
            yield
        finally:
            now = dict(os.environ)
            self._environment = {
                name: now.get(name) for name in trainers.keys() | now.keys() if trainers.get(name) != now.get(name)
            }
            _set_environment({name: trainers.get(name) for name in self._environment})


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def random_state() -> Iterator[None]:
    """The global generators of random, numpy and torch end where they began.

    Not in a thread beside the trainer's (`rollout.lag`), where to put back an old state would undo the trainer's draws.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    python, legacy = random.getstate(), np.random.get_state()
    # This rank's device only: asking for the state of another would start a context on it.
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)


@contextmanager
def threads() -> Iterator[None]:
    """torch computes with as many CPU threads as before."""
    count, set_num_threads = torch.get_num_threads(), torch.set_num_threads
    try:
        yield
    finally:
        if torch.get_num_threads() != count:
            set_num_threads(count)


@contextmanager
def garbage_collection(spare: bool) -> Iterator[None]:
    """Objects that were not frozen before are not frozen afterwards, else cycles among them would never be freed.

    Args:
        spare: do not look through the objects that are there already; an engine that starts collects five times, which
            in a process with many of them takes longer than all the rest.
    """
    frozen = gc.get_freeze_count()
    if spare and frozen == 0:
        gc.freeze()
    try:
        yield
    finally:
        if frozen == 0:
            gc.unfreeze()


@contextmanager
def plain_numerics() -> Iterator[None]:
    """The engine computes in its own dtype, not in the trainer's autocast, and without gradients.

    Float32 products keep the precision that the trainer has chosen for them (TF32 or not), for an engine that computes
    as the policy does; it would set its own for the whole process.
    """
    with ExitStack() as stack:
        for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
            stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(_replaced(torch, "set_float32_matmul_precision", lambda precision: None))
        yield


@contextmanager
def _kept_alive(world: Any) -> Iterator[None]:
    """The engine's shutdown ends whatever process group it finds; this one, if there is one, it cannot end."""
    destroy = dist.destroy_process_group

    def destroy_others(group: Any = None) -> None:
        if world is None or (group is not None and group is not world):
            destroy(group)

    with _replaced(dist, "destroy_process_group", destroy_others):
        yield


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
