"""morl: train language models on several rewards at once.

Public names are imported when they are first used: `import morl` loads nothing heavy, and the estimators
(`from morl import gdpo`) need torch and attrs, not the trainer.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from morl import _extras, _namesake
from morl._version import __version__

if TYPE_CHECKING:
    from morl.advantage import GDPO, GRPO, Conditioned, GRPONoStd, gdpo, grpo, grpo_no_std
    from morl.config import Config
    from morl.errors import ConfigError, DataError, MorlError, PluginError, RewardError, RolloutError
    from morl.hookspecs import hookimpl
    from morl.plugins import Registry
    from morl.reward import RewardEntry
    from morl.training import RunResult, train
    from morl.types import Advantages, Completion, Prompt, RewardMatrix, Sampling

_HOMES = {
    "morl.advantage": ("GDPO", "GRPO", "Conditioned", "GRPONoStd", "gdpo", "grpo", "grpo_no_std"),
    "morl.config": ("Config",),
    "morl.errors": ("ConfigError", "DataError", "MorlError", "PluginError", "RewardError", "RolloutError"),
    "morl.hookspecs": ("hookimpl",),
    "morl.plugins": ("Registry",),
    "morl.reward": ("RewardEntry",),
    "morl.training": ("RunResult", "train"),
    "morl.types": ("Advantages", "Completion", "Prompt", "RewardMatrix", "Sampling"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "GDPO",
    "GRPO",
    "Advantages",
    "Completion",
    "Conditioned",
    "Config",
    "ConfigError",
    "DataError",
    "GRPONoStd",
    "MorlError",
    "PluginError",
    "Prompt",
    "Registry",
    "RewardEntry",
    "RewardError",
    "RewardMatrix",
    "RolloutError",
    "RunResult",
    "Sampling",
    "__version__",
    "gdpo",
    "grpo",
    "grpo_no_std",
    "hookimpl",
    "train",
]

if (_problem := _namesake.found()) is not None:
    warnings.warn(_problem, stacklevel=2)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'morl' has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
    except ModuleNotFoundError as error:
        if (needed := _extras.what_to_install(error, f"morl.{name}")) is not None:
            raise ModuleNotFoundError(needed, name=error.name) from error
        raise
    globals()[name] = value
    return value
