"""The net under sampling and training: both must be the same network, in every step."""

from __future__ import annotations

import warnings

from attrs import define, field

from morl.config.schema import Config
from morl.errors import TrainingError
from morl.hookspecs import RolloutBackend
from morl.training.probe import Difference

FLOAT32, BFLOAT16 = 1e-3, 0.1
"""Default limits of the mean difference of log-probabilities: float32 is at 1e-5 with a model of 30 layers, and
bfloat16, of 8 significant bits, at 1e-2."""


def difference_limit(config: Config, backend: RolloutBackend) -> float | None:
    """The limit that a run has; None where no difference ends it.

    By default an engine of other numerics has none, and adapters that are trained with dropout, but sampled without.
    """
    if (chosen := config.rollout.max_logprob_difference) is not None:
        return chosen or None
    lora = config.policy.lora
    if not getattr(backend, "in_process", False) or (lora is not None and lora.dropout):
        return None
    half = config.policy.dtype == "bfloat16" or config.trainer.precision.startswith("bf16")
    return BFLOAT16 if half else FLOAT32


@define
class DifferenceWatch:
    """Warns when sampling and training part, and ends the run if they still do in the next step.

    Args:
        limit: of the mean absolute difference of log-probabilities; None warns of nothing.
    """

    limit: float | None
    _warned: bool = field(init=False, default=False)

    def see(self, difference: Difference, step: int) -> None:
        """Looks at the difference over all ranks' tokens of a step.

        Raises:
            TrainingError: the second step in a row above the limit.
        """
        # Written so that NaN is above every limit.
        if self.limit is None or difference.mean <= self.limit:
            self._warned = False
            return
        text = (
            f"what sampled and what is trained are not the same network: in step {step} their log-probabilities differ"
            f" by {difference.mean:.2g} on average and {difference.largest:.2g} at most; the limit is {self.limit:g}"
            " (rollout.max_logprob_difference). Look at policy.attention (padded computes as the model's authors do),"
            " at policy.dtype and trainer.precision (32-true leaves rounding of 1e-5), at layers of your own that draw"
            " noise or keep state, and at sync_weights of a rollout backend of your own"
        )
        if self._warned:
            raise TrainingError(f"{text}. The run ends before it learns more from samples of another network")
        self._warned = True
        warnings.warn(f"{text}. The run ends if the next step shows the same", stacklevel=2)
