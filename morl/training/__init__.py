"""The loop: from rollouts to updated, synced weights, on `lightning.pytorch`.

Public names are imported when they are first used, so that `morl train` can refuse a config before Lightning is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from morl.training.run import RunResult, train

__all__ = ["RunResult", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'morl.training' has no attribute {name!r}")
    from morl.training import run

    return getattr(run, name)
