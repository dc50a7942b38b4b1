"""The Lightning module: one training step follows the data flow once.

    prompts -> rollout -> reward -> advantage -> loss -> optimizer step -> weight sync

Optimisation is manual, because one rollout batch feeds several optimizer steps and every one of them needs the
advantages of the whole batch.  The only state of the loop besides weights and optimizer are two counters, kept as
buffers; all randomness is a function of the seed and of these counters (`morl.runtime.seeds`).  So Lightning's
checkpoints hold everything, and a resumed run continues bit for bit.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from morl.artifacts import metrics as names
from morl.artifacts.folder import RunFolder
from morl.artifacts.metrics import Metrics
from morl.config.schema import Config
from morl.copies import copied
from morl.errors import asking
from morl.interrupts import deferred
from morl.optim.optimizer import build_optimizer
from morl.optim.rounding import StochasticRounding
from morl.policy.model import PolicyModel
from morl.runtime import seeds
from morl.runtime.exchange import Exchange
from morl.runtime.held_out import HeldOut, evaluate
from morl.runtime.learning_rate import factor_of_run
from morl.runtime.parts import Parts, weighting_of
from morl.runtime.sources import source_metrics
from morl.training.batching import mini_batches
from morl.training.checkpoint_content import leave_out, put_back
from morl.training.collect import Collector, Experience
from morl.training.entropy import EntropyBonus
from morl.training.losses import share_of
from morl.training.metrics import experience_metrics
from morl.training.nonfinite import NonfiniteGradients
from morl.training.passes import FrozenLogprobs, completion_logprobs
from morl.training.probe import Difference
from morl.training.reference import Reference
from morl.training.rollouts import Ahead, Draw, OnPolicy, Rollouts
from morl.training.sharding import shard
from morl.training.snapshot import Snapshot
from morl.training.state import load_states, save_states
from morl.training.update import TokenSums, Updater, clip_gradients
from morl.training.watch import DifferenceWatch, difference_limit
from morl.types import EncodedPrompt, RewardScores, RolloutBatch

CPU_MICRO_BATCH_TOKENS, MICRO_BATCH_TOKENS = 2048, 16384
"""What `training.micro_batch_tokens: null` means: such a pass fills the device, a larger one only its memory."""


class RLModule(L.LightningModule):
    """Trains `policy` with the parts of a run.

    Attributes:
        finished_steps: rollout batches that were collected and learned from.
        consumed_prompts: position in the endless stream of training prompts.
        experience: the last step's, for callbacks; None before the first.
        row: metrics of the last finished step; None before the first.
        alone: the other ranks of the run are lost, or cannot be waited for.
        tokenizer: decodes completions; see `morl.rollout.visible`.
        exported_tokenizer: goes with the final model.
        updating: weights and counters are on their way from one finished step to the next.
    """

    finished_steps: Tensor
    consumed_prompts: Tensor

    def __init__(
        self,
        config: Config,
        parts: Parts,
        policy: PolicyModel,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[EncodedPrompt],
        evaluation_prompts: Sequence[EncodedPrompt],
        model_path: str,
        exported_tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config = config
        self.parts = parts
        self.policy = policy
        self.tokenizer = tokenizer
        self.exported_tokenizer = exported_tokenizer or tokenizer
        self.model_path = model_path
        self.evaluation_prompts = evaluation_prompts
        self.experience: Experience | None = None
        self.row: Metrics | None = None
        self.updating = False
        self.alone = False
        self._snapshot: Snapshot | None = None
        self.rounding: StochasticRounding | None = None
        self.exchange = Exchange()
        self.register_buffer("finished_steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("consumed_prompts", torch.zeros((), dtype=torch.int64))
        # An adapter that is trained on is part of the initial policy, so switching it off would give another.
        lora = config.policy.lora is not None and config.policy.lora.adapter is None
        self.reference = Reference(policy, lora=lora, options=config.reference) if parts.needs_reference else None
        self.entropy = EntropyBonus.of(config.entropy)
        training, lag = config.training, config.rollout.lag
        drawn = (config.sampling, training.group_size, config.prompts.shuffle, config.seed, policy.vocabulary)
        draw = Draw(parts.backend, prompts, *drawn)
        steps = (training.length, training.prompts_per_step)
        self.rollouts: Rollouts = Ahead(draw, lag, *steps) if lag else OnPolicy(draw)
        self._drawn_ahead: list[list[Any]] = []
        self.collector = Collector(
            rollouts=self.rollouts,
            scorer=parts.scorer,
            estimator=parts.estimator,
            registry=parts.registry,
            prompts_per_step=training.prompts_per_step,
            group_size=training.group_size,
            rounds=training.dynamic_sampling_rounds,
            label=parts.label("estimator"),
            without_truncated=training.mask_truncated == "statistics",
            logprobs=self._both_logprobs if parts.rewards_need_reference else None,
        )
        self.updater = Updater.of(config, parts, policy)
        self.watch = DifferenceWatch(difference_limit(config, parts.backend))
        self.nonfinite = NonfiniteGradients(RunFolder(Path(config.output)), training.on_nonfinite == "skip")

    # The data flow ----------------------------------------------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One rollout batch and every optimizer step on it."""
        start = time.perf_counter()
        step = int(self.finished_steps)
        position = int(self.consumed_prompts)
        self.rollouts.begin(step, position, self.exchange)
        begun = time.perf_counter()
        experience = self.collector.collect(step, position, self.exchange)
        collected = time.perf_counter()
        # Dropout of LoRA adapters is all that draws from torch's own generator.
        torch.manual_seed(seeds.derive(self.config.seed, seeds.DROPOUT, step, self.exchange.rank))
        with ExitStack() as finish:
            self.updater.entropy_coef = self.entropy.applied
            metrics = self.update(step, experience, finish)
            metrics |= self.entropy.finish_step(metrics)
            self._adapt(experience)
            ended = time.perf_counter()
            seconds = {**experience.seconds, "sync": begun - start, "update": ended - collected, "step": ended - start}
            metrics |= {names.TIME.of(name): value for name, value in seconds.items()}
            metrics[names.TOKENS_PER_SECOND.name] = float(experience.scores.lengths_B.sum()) / seconds["step"]
            metrics |= experience_metrics(experience)
            if (column := getattr(self.parts.prompts, "source_column", None)) is not None:
                prompts = [self.rollouts.draw.prompt_at(place) for place in experience.scores.positions_B.tolist()]
                metrics |= source_metrics(prompts, column, self.parts.scorer.names, experience.scores.values_BK)
            self.finished_steps += 1
            self.consumed_prompts += experience.consumed_prompts
            if self.reference is not None:
                self.reference.finish_step(int(self.finished_steps), self.policy)
            self.experience, self.row = experience, metrics
            self.updating = False
        # For what reads Lightning's metrics; the loggers get the row itself, before a checkpoint counts the step.
        # Not by `log_dict`, which takes milliseconds for each metric.
        self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in metrics.items()})
        self.parts.registry.observe("morl_step_finished", step=step, metrics=metrics)

    def update(self, step: int, experience: Experience, finish: ExitStack) -> Metrics:
        """All optimizer steps on one rollout batch.

        Before the last of them, or without a backup before the first, `finish` is entered to put off signals: what is
        begun then, the step, is finished.
        """
        optimizer, training = self._optimizer(), self.config.training
        logprobs = self._frozen_logprobs(experience)
        if self.rounding is not None:
            self.rounding.begin(seeds.derive(self.config.seed, seeds.ROUNDING, step))

        sums = TokenSums()
        norms: list[float] = []
        batches = self._mini_batches(step, len(torch.unique(experience.scores.positions_B)))
        for number, chosen in enumerate(batches, start=1):
            self.updater.backward(
                experience,
                self.updater.mini_batch(experience, chosen, logprobs, self.exchange),
                logprobs,
                exchange=self.exchange,
                sync=self._sync,
                manual_backward=self.manual_backward,
                sums=sums,
                version=None if norms else step,
            )
            norms.append(clip_gradients(self.policy, self.config.optimizer.max_grad_norm))
            sound = self.nonfinite.check(self.policy, norms[-1], experience, chosen, step, self.exchange)
            if number == 1 and len(batches) > 1 and training.step_backup:
                self._snapshot = Snapshot()
                self._snapshot.take(self.policy.parameters(), optimizer.optimizer)
            if number == (len(batches) if training.step_backup else 1):
                finish.enter_context(deferred())
            self.updating = True
            if sound:
                optimizer.step()
            optimizer.zero_grad()
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, LambdaLR)
        lr = float(scheduler.get_last_lr()[0])
        with warnings.catch_warnings():
            # A step that `trainer.on_nonfinite` skips is one of the schedule all the same.
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            scheduler.step()

        totals = self.exchange.sum(sums.sums)
        # Where every completion was dropped there are no tokens and no sums.
        tokens = max(totals.pop("tokens", 0.0), 1.0)
        loss = totals.pop("loss", 0.0) / len(norms)
        difference = Difference.joined(self.exchange.gather(self.rollouts.difference or sums.difference))
        self.watch.see(difference, step)
        return {
            names.LOSS.name: loss,
            names.LOGPROB_DIFFERENCE.name: difference.mean,
            names.LOGPROB_DIFFERENCE_MAX.name: difference.largest,
            names.LAG.name: step - min(v for v in self.exchange.gather(_oldest(experience.rollouts)) if v is not None),
            **{name: total / tokens for name, total in totals.items()},
            names.GRAD_NORM.name: sum(norms) / len(norms),
            names.LEARNING_RATE.name: lr,
        }

    def evaluate(self, observe: Callable[[RolloutBatch, RewardScores], None] | None = None) -> HeldOut:
        """Mean of every reward on the held-out prompts, under the present weights.  Every rank must call.

        Args:
            observe: is shown what this rank sampled and scored, in parts.
        """
        with self.trainer.precision_plugin.forward_context():
            self.rollouts.settle(int(self.finished_steps))
            parts, column = self.parts, getattr(self.parts.evaluation_prompts, "source_column", None)
            return evaluate(
                self.config, self.evaluation_prompts, parts.backend, parts.scorer, self.exchange, column, observe
            )

    # What Lightning asks for ----------------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[int]:
        """One index per step.  Prompts are not loaded here: which ones a step takes follows from the counters."""
        steps = range(self.config.training.length)
        # A generator of its own, for a loader draws from torch's global one even where it does not shuffle.
        return DataLoader(steps, batch_size=None, generator=torch.Generator())  # type: ignore[arg-type]

    def configure_model(self) -> None:
        """Shards the policy under FSDP2; every other strategy wraps it by itself."""
        if self.device_mesh is None:
            return
        shard(self.policy, self.device_mesh.device_type)
        if self.reference is not None:
            self.reference.shard(self.device_mesh.device_type)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer of what is trainable, with the schedule stepped once per rollout batch."""
        parts = self.parts
        optimizer = build_optimizer(parts.optimizer, self.policy, self.config.optimizer.lr, parts.label("optimizer"))
        if any(parameter.dtype == torch.bfloat16 for parameter in self.policy.parameters() if parameter.requires_grad):
            self.rounding = StochasticRounding(optimizer)
        return {
            "optimizer": optimizer,
            "lr_scheduler": LambdaLR(optimizer, factor_of_run(self.config, parts.schedule)),
        }

    def on_fit_start(self) -> None:
        self.exchange = Exchange.current()
        by_device = CPU_MICRO_BATCH_TOKENS if self.device.type == "cpu" else MICRO_BATCH_TOKENS
        self.updater.budget = self.config.training.micro_batch_tokens or by_device
        if self.reference is not None:
            self.reference.to(self.device)
        context = self.trainer.precision_plugin.forward_context
        self.rollouts.start(self.policy, self.tokenizer, self.model_path, context)

    def on_train_start(self) -> None:
        # Not in `on_fit_start`: a sharded policy is read from its checkpoint after that.
        if len(self._drawn_ahead) == self.exchange.size:
            mine = self._drawn_ahead[self.exchange.rank]
            self.rollouts.restore(int(self.finished_steps), int(self.consumed_prompts), mine, self.exchange)
        # Otherwise the ranks have changed, and their batches are sampled anew, with weights that are newer only.
        self._drawn_ahead = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """-1, which ends the epoch, where a resumed run has no step left but its model still to be written."""
        return -1 if int(self.finished_steps) >= self.config.training.length else None

    def close(self) -> None:
        """Ends what runs beside the loop.  Not in `teardown`, which Lightning leaves out after an error."""
        self.rollouts.close()
        self.parts.scorer.close()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Notes which plugins, in which versions, made these weights, and what was sampled for the steps to come."""
        # A rank that is left alone asks nobody: what was drawn ahead is then drawn again.
        exchange = Exchange() if self.alone else self.exchange
        ahead = [] if self.alone else exchange.gather(self.rollouts.drawn_ahead(int(self.finished_steps)))
        checkpoint["morl_plugins"] = self.parts.registry.versions()
        checkpoint["morl_states"] = save_states(self.parts, exchange)
        checkpoint["morl_drawn_ahead"] = ahead
        checkpoint["morl_entropy"] = self.entropy.state()
        checkpoint["morl_reference"] = None if self.reference is None else self.reference.state()
        leave_out(checkpoint, self, self.config.training.keep)
        # Whether the last step was reached follows from the counts.  Lightning's flag would also stop a run that is
        # resumed with more steps than it had.
        checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"] = False

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Hands the parts their states, and keeps what was sampled ahead until the backend has started."""
        put_back(checkpoint, self)
        load_states(self.parts, checkpoint.get("morl_states", {}), Exchange.current())
        self._drawn_ahead = checkpoint.get("morl_drawn_ahead", [])
        self.entropy.load(checkpoint.get("morl_entropy"))
        if self.reference is not None:
            self.reference.load(checkpoint.get("morl_reference"))

    def _adapt(self, experience: Experience) -> None:
        """Shows a weighting that adapts what this step's rewards and advantages were, once."""
        weighting = weighting_of(self.parts.estimator)
        if (update := getattr(weighting, "update", None)) is None:
            return
        label = self.parts.label("estimator.weighting")
        with asking(label, "failed to adapt"):
            update(copied(experience.rewards), copied(experience.advantages))

    def back_to_finished_step(self) -> bool:
        """Undoes an update that was left in the middle, if that can be done; whether the last step stands finished."""
        if self.updating and self._snapshot is not None:
            if self.rounding is not None:
                self.rounding.abandon()
            self._snapshot.restore(self._optimizer().optimizer)
            self.updating = False
        return not self.updating

    # Details --------------------------------------------------------------------------------------------------------

    def _optimizer(self) -> Any:
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        return optimizer

    def _sync(self, exchange: bool) -> AbstractContextManager[object]:
        return self._optimizer().toggle_model(sync_grad=exchange)  # type: ignore[no-any-return]

    def _mini_batches(self, step: int, groups: int) -> list[Tensor]:
        """The groups of each optimizer step."""
        training, seed = self.config.training, self.config.seed
        epochs = range(training.inner_epochs)
        return [part for epoch in epochs for part in mini_batches(groups, training.mini_batches, seed, step, epoch)]

    def _frozen_logprobs(self, experience: Experience) -> FrozenLogprobs:
        """Those that the update compares the policy's with."""
        training, old_BT, entropy_BT = self.config.training, experience.rollouts.rollout_logprobs_BT, None
        ranked = share_of(self.parts.loss) < 1
        recompute = training.recompute_logprobs or self.updater.importance is not None
        capture = recompute and training.mini_batches == 1 and not ranked
        if capture:
            old_BT = torch.zeros_like(old_BT)
        elif recompute or ranked:
            now_BT, entropy_BT = self._logprobs(self.policy, experience.rollouts, experience.spare, entropy=ranked)
            old_BT = now_BT if recompute else old_BT
        reference = None
        if self.parts.loss.needs_reference:
            reference = self._reference_logprobs(experience.rollouts, experience.spare)
        return FrozenLogprobs(old_BT, reference, entropy_BT, capture)

    def _both_logprobs(self, rollouts: RolloutBatch) -> tuple[Tensor, Tensor]:
        """Of the policy and of the reference, by one code: where the two are the same, so are the bits."""
        spare = rollouts.select([0])
        return self._logprobs(self.policy, rollouts, spare)[0], self._reference_logprobs(rollouts, spare)

    def _reference_logprobs(self, rollouts: RolloutBatch, spare: RolloutBatch) -> Tensor:
        assert self.reference is not None
        return self.reference.apply(lambda policy: self._logprobs(policy, rollouts, spare)[0])

    def _logprobs(
        self, policy: PolicyModel, rollouts: RolloutBatch, spare: RolloutBatch, *, entropy: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        return completion_logprobs(
            policy,
            rollouts,
            spare,
            self.config.sampling.temperature,
            self.updater.budget,
            self.exchange,
            entropy=entropy,
        )


def _oldest(rollouts: RolloutBatch) -> int | None:
    """The oldest version of weights among them; None where dynamic sampling left this rank nothing."""
    return int(rollouts.weights_versions_B.min()) if len(rollouts) else None
