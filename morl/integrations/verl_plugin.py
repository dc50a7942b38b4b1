"""The entry point `verl.plugins`: `import verl` imports this module, in every process.

It imports nothing of verl itself, which would double the time that `import verl` takes: names are registered, and
functions wrapped, when verl imports the modules that hold them.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_LOG = logging.getLogger("morl")


def register(core_algos: Any) -> None:
    """A name `morl-<estimator>` for every estimator that is installed."""
    from morl.integrations.matrix import KIND
    from morl.integrations.verl import PREFIX, AdvantageFunction
    from morl.plugins import Registry

    for part in Registry().names(KIND):
        core_algos.register_adv_est(PREFIX + part.name)(AdvantageFunction(part.name))


def wrap_legacy(ray_trainer: Any) -> None:
    """The trainer of `trainer.use_v1: false`."""
    from morl.integrations.verl import remembering_legacy

    ray_trainer.compute_advantage = remembering_legacy(ray_trainer.compute_advantage)


def wrap_v1(trainer_base: Any) -> None:
    """The trainer of `trainer.use_v1: true`, the default."""
    from morl.integrations.verl import remembering_v1

    trainer = trainer_base.PPOTrainer
    trainer._compute_advantage = remembering_v1(trainer._compute_advantage, trainer_base.tq)


AFTER: dict[str, Callable[[Any], None]] = {
    "verl.trainer.ppo.core_algos": register,
    "verl.trainer.ppo.ray_trainer": wrap_legacy,
    "verl.trainer.ppo.v1.trainer_base": wrap_v1,
}
"""Module of verl -> what is done once it has been imported."""


class AfterImport:
    """Finds these modules as Python does, and has something done after each was executed."""

    def __init__(self) -> None:
        self._looking: set[str] = set()

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """As importlib asks of a finder."""
        if name not in AFTER or name in self._looking:
            return None
        self._looking.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._looking.discard(name)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            apply(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def apply(module: ModuleType) -> None:
    """What belongs to this module; a failure is logged, for verl would only say that a name is unknown."""
    try:
        AFTER[module.__name__](module)
    except Exception:  # noqa: BLE001 - verl goes on without us, and must; the user is told
        _LOG.exception(
            "morl could not put its estimators into %s; names that begin with 'morl-' are unknown, or lack the scores"
            " of single rewards. morl knows verl 0.9",
            module.__name__,
        )


def install() -> None:
    """Once per process."""
    if not any(isinstance(finder, AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, AfterImport())
        for name in AFTER:
            if (module := sys.modules.get(name)) is not None:
                apply(module)


install()
