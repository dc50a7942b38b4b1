"""What becomes of an optimizer step whose gradient is NaN or infinite."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from attrs import define, field
from torch import Tensor
from torch.distributed.tensor import DTensor

from morl.artifacts.files import draft_of, move_into_place
from morl.artifacts.folder import RunFolder
from morl.errors import TrainingError
from morl.policy.model import PolicyModel
from morl.runtime.exchange import Exchange
from morl.training.collect import Experience

_log = logging.getLogger(__name__)

MOST_IN_A_ROW = 10
"""Optimizer steps in a row that may be skipped; what never recovers is not worth the time."""


@define(eq=False)
class NonfiniteGradients:
    """Ends the run before such a gradient spoils the weights, or leaves its optimizer step out.

    Every rank sees the same norm, for gradients are averaged before, and saves its own share of the batch.

    Args:
        folder: of the run.
        skip: leave the optimizer step out, in place of ending the run.
    """

    folder: RunFolder
    skip: bool
    _in_a_row: int = field(default=0, init=False)

    def check(
        self, policy: PolicyModel, norm: float, experience: Experience, chosen: Tensor, step: int, exchange: Exchange
    ) -> bool:
        """Whether the optimizer step may be made; where not, the batch is saved.

        Args:
            policy: with the gradient.
            norm: of the gradient.
            experience: the rollout batch.
            chosen: the groups of the mini-batch, see `morl.training.batching.mini_batches`.
            step: finished steps.
            exchange: the ranks.

        Raises:
            TrainingError: the run is to end, or too many steps in a row had to be left out.
        """
        if math.isfinite(norm):
            self._in_a_row = 0
            return True
        self._in_a_row += 1
        path = self.folder.nonfinite / f"step-{step + 1:06d}-rank-{exchange.rank}.pt"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(_content(policy, norm, experience, chosen, step), draft_of(path))
            move_into_place(draft_of(path), path)
            saved = f"the batch is in {path}"
        except (OSError, RuntimeError) as error:
            saved = f"the batch could not be saved: {error}"
        if self.skip and self._in_a_row < MOST_IN_A_ROW:
            _log.warning("step %d: the gradient is not finite, and its optimizer step is left out; %s", step + 1, saved)
            return False
        again = "resume from the last checkpoint" if step else "begin again"
        often = f" {self._in_a_row} times in a row" if self.skip else ""
        raise TrainingError(
            f"the gradient of step {step + 1} is not finite{often}, so the run ends before it spoils the weights;"
            f" {saved}; {again} with a smaller optimizer.lr or more warm-up, or leave such"
            " steps out with training.on_nonfinite=skip, and look at the samples of the last steps"
        )


def _content(policy: PolicyModel, norm: float, experience: Experience, chosen: Tensor, step: int) -> dict[str, Any]:
    """Plain values and tensors, which `torch.load` reads with `weights_only`; see docs/reference/run-folder.md."""
    rollouts, rows = experience.rollouts, experience.local_rows
    of_batch = ("group_ids_B", "completion_ids_BT", "completion_mask_BT", "sampled_mask_BT", "rollout_logprobs_BT")
    return {
        "step": step + 1,
        "gradient_norm": norm,
        "parameters": [name for name, parameter in policy.named_parameters() if not _is_finite(parameter.grad)],
        "mini_batch": chosen.tolist(),
        "prompts": [
            {"row": prompt.index, "text": prompt.text, "token_ids": list(prompt.token_ids)}
            for prompt in rollouts.prompts
        ],
        **{name: getattr(rollouts, name).detach().cpu() for name in of_batch},
        "reward_names": list(experience.rewards.names),
        "rewards_BK": experience.rewards.values_BK[rows].cpu(),
        "advantages_B": experience.advantages.values_B[rows].cpu(),
    }


def _is_finite(gradient: Tensor | None) -> bool:
    local = gradient.to_local() if isinstance(gradient, DTensor) else gradient
    return local is None or bool(local.isfinite().all())
