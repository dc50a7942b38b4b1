"""Keeps other libraries' chatter out of the display; warnings and errors that say something stay."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging

_LOGGERS = ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.trainer", "lightning.fabric")
_WARNINGS = (
    ".*does not have many workers.*",  # the loader yields step numbers
    ".*LeafSpec.*is deprecated.*",
    ".*weights_only.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*in eval mode at the start of training.*",
    ".*resuming from a checkpoint that ended before the epoch ended.*",  # RLModule's state is exact at any step
)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within it, Lightning's notes and tips, transformers' loading bars and known harmless warnings are silent."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    bars = transformers_logging.is_progress_bar_enabled()
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    transformers_logging.disable_progress_bar()
    with warnings.catch_warnings():
        for pattern in _WARNINGS:
            warnings.filterwarnings("ignore", pattern)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            if bars:
                transformers_logging.enable_progress_bar()
