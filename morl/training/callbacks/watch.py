"""Says so, where a run has nothing to learn from."""

from __future__ import annotations

import logging
from typing import Any

import lightning.pytorch as L
from attrs import define, field

from morl.training.module import RLModule

_log = logging.getLogger(__name__)


@define(eq=False, slots=False)
class Watch(L.Callback):
    """Warns of steps in which every advantage is 0, and of conditioned rewards that count for no completion.

    The first step in a row is told, then the second, the fourth, the eighth, and so on.
    """

    _in_a_row: dict[str, int] = field(factory=dict, init=False)
    _has_counted: dict[str, bool] = field(factory=dict, init=False)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, RLModule)
        experience, step = pl_module.experience, int(pl_module.finished_steps)
        if not trainer.is_global_zero or experience is None:
            return
        why = "no reward differs within a group, or the rewards cancel"
        self._tell("advantages", not experience.advantages.values_B.any(), f"every advantage is 0: {why}", step)
        for name, counts_B in experience.counted.items():
            counts = bool(counts_B.any())
            self._has_counted[name] = self._has_counted.get(name, False) or counts
            told = f"the conditioned reward {name!r} counted for no completion, so that it taught nothing"
            self._tell(f"reward {name}", not counts, told, step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for name, has_counted in self._has_counted.items():
            if not has_counted:
                _log.warning(
                    "the conditioned reward %r never counted: no completion of the run reached its condition; lower"
                    " `at_least`, or begin with prompts on which it can be reached",
                    name,
                )

    def _tell(self, what: str, so: bool, message: str, step: int) -> None:
        count = self._in_a_row[what] = self._in_a_row.get(what, 0) + 1 if so else 0
        if count and count & (count - 1) == 0:
            times = f" ({count} steps in a row)" if count > 1 else ""
            _log.warning("step %d: %s%s", step, message, times)
