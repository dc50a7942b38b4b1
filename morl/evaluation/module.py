"""The Lightning module of an evaluation: its one prediction step samples and scores everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as L
import torch
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from morl import interrupts, progress
from morl.config.schema import Config
from morl.policy.model import PolicyModel
from morl.runtime.exchange import Exchange
from morl.runtime.held_out import score_held_out
from morl.runtime.parts import Parts
from morl.runtime.samples import rollout_rows
from morl.runtime.scores import BatchScores
from morl.runtime.signals import answer, hand_on
from morl.types import EncodedPrompt, RewardScores, RolloutBatch


class EvaluationModule(L.LightningModule):
    """Scores held-out prompts on the devices of a trainer.

    Attributes:
        scores: of the completions of all ranks, once it has run.
        samples: all completions with their scores, in the order of the prompts; only where they were asked for.
    """

    def __init__(
        self,
        config: Config,
        parts: Parts,
        policy: PolicyModel,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[EncodedPrompt],
        model_path: str,
        keep_samples: bool,
        is_reference: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.parts = parts
        self.policy = policy
        self.tokenizer = tokenizer
        self.prompts = prompts
        self.model_path = model_path
        self.keep_samples = keep_samples
        self.is_reference = is_reference
        self.scores: BatchScores | None = None
        self.samples: list[dict[str, Any]] = []

    def predict_dataloader(self) -> DataLoader[int]:
        """A single batch: prompts are shared out among the ranks when they are sampled."""
        return DataLoader(range(1), batch_size=None, generator=torch.Generator())  # type: ignore[arg-type]

    def on_predict_start(self) -> None:
        """Signals are answered at once; Lightning would wait for the end of the step, which is all there is."""
        interrupts.listen(lambda number: answer(number, self.trainer), at_once=lambda: hand_on(self.trainer))

    def predict_step(self, batch: Any, batch_idx: int) -> int:
        """Samples and scores this rank's prompts and gathers the scores; returns the number of completions."""
        assert self.config.evaluation is not None
        exchange, backend = Exchange.current(), self.parts.backend
        backend.start(self.policy, self.tokenizer, self.model_path)
        backend.sync_weights(0)
        mine, samples = len(exchange.share(len(self.prompts))), self.config.evaluation.samples
        drawn = "1 completion" if samples == 1 else f"{samples} completions"
        title = f"sampling and scoring: {mine} prompts x {drawn}"
        if exchange.size > 1:
            title += f" on each of {exchange.size} ranks"
        with progress.working(title, mine, wanted=self.config.trainer.progress) as advance:

            def observe(rollouts: RolloutBatch, scores: RewardScores) -> None:
                advance(len(rollouts.prompts))
                if self.keep_samples:
                    self._keep(rollouts, scores)

            self.scores = score_held_out(
                self.config, self.prompts, backend, self.parts.scorer, exchange, observe, self.is_reference
            )
        self.samples = [row for rows in exchange.gather(self.samples) for row in rows]
        return len(self.scores.lengths_B)

    def close(self) -> None:
        """Ends what runs beside it; also after an error."""
        self.parts.backend.close()
        self.parts.scorer.close()

    def _keep(self, rollouts: RolloutBatch, scores: RewardScores) -> None:
        rows = zip(rollout_rows(rollouts), scores.values_BK.tolist(), scores.failed_BK.tolist(), strict=True)
        for row, values, failed in rows:
            self.samples.append(
                {
                    **row,
                    # NaN is no JSON: a missing reward is null.
                    "rewards": {n: None if v != v else v for n, v in zip(scores.names, values, strict=True)},
                    "failed": [name for name, fails in zip(scores.names, failed, strict=True) if fails],
                }
            )
