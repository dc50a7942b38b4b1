"""Process-wide settings, for as long as a run lasts; afterwards the caller finds its process as it was."""

from __future__ import annotations

import contextlib
import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from morl.config.schema import Config
from morl.runtime.quiet import quiet_libraries
from morl.runtime.seeds import private_torch_rng


@contextmanager
def run_settings(config: Config) -> Iterator[None]:
    """Within it libraries are quiet, torch draws from the run's seed and computes with the run's CPU threads.

    A crash in native code says where it happened.
    """
    with quiet_libraries(), private_torch_rng(config.seed), torch_settings(config.trainer.threads), crash_reports():
        yield


@contextmanager
def crash_reports() -> Iterator[None]:
    """Within it a segmentation fault writes the stack of every thread to stderr before the process ends."""
    before = faulthandler.is_enabled()
    # Where stderr is no file, as in a notebook, there is nothing to write to.
    with contextlib.suppress(ValueError, OSError, AttributeError):
        if not before:
            faulthandler.enable()
    try:
        yield
    finally:
        if not before:
            faulthandler.disable()


@contextmanager
def torch_settings(threads: int | None) -> Iterator[None]:
    """Within it torch computes with `threads` CPU threads (None: as many as before); afterwards all is as it was.

    More threads than idle cores make small models many times slower, for they wait for each other at every operation.
    """
    before, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(deterministic)  # Lightning sets it and leaves it
