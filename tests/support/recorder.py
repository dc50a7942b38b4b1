"""An observer that keeps the rollouts of the last step."""

from __future__ import annotations

from morl import hookimpl
from morl.types import RolloutBatch


class Recorder:
    @hookimpl
    def morl_rollouts_ready(self, rollouts: RolloutBatch) -> None:
        self.rollouts = rollouts
