"""The sections of a config that name no part: the loop, its evaluations, devices and plugins."""

from __future__ import annotations

import math
from typing import Any, Literal

from attrs import evolve, field, frozen
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from morl.config.schema_parts import HeldOutPromptsConfig
from morl.errors import ConfigError


@frozen
class TrainingConfig:
    """The loop: one step is one rollout batch and all optimizer steps on it.

    Args:
        steps: rollout batches of the run; null takes 100, unless `epochs` is given.
        epochs: the length of the run in passes over the prompts, in place of `steps`; prompts that replace dropped
            groups (`dynamic_sampling_rounds`) come on top.
        prompts_per_step: prompts of a rollout batch, over all ranks (P).
        group_size: completions of each prompt (G).
        inner_epochs: passes over each rollout batch.
        mini_batches: optimizer steps per pass; the prompts of a batch are dealt out evenly.
        micro_batch_tokens: tokens that one forward and backward pass takes at most (one completion at least); smaller
            saves memory and changes nothing else.  null takes 2048 on a CPU, which larger passes do not keep busier,
            and 16384 elsewhere.
        recompute_logprobs: compute the importance ratio's denominator with a forward pass in place of the
            log-probabilities captured while sampling; for backends of other numerics.
        mask_truncated: whether truncated completions leave the loss (DAPO, arXiv 2503.14476); `statistics` takes them
            out of the rewards that the estimator sees, too, and so out of the means and standard deviations of their
            groups.
        dynamic_sampling_rounds: 0 keeps every group; n >= 1 drops the groups in which no weighted, normalised reward
            has signal and samples up to n - 1 times more to replace them.
        checkpoint_every: steps between checkpoints; 0 writes one at the end only.
        checkpoint_minutes: also one after the step in which so many minutes have passed since the last; 0 is off.
        keep_checkpoints: the newest ones that are kept.
        keep: what a checkpoint holds: `all`, or `weights`, without the state of the optimizer, which with `adamw` is
            two thirds of it; a run continues from there with a new optimizer, not bit for bit.
        step_backup: whether a step of several optimizer steps keeps a copy of what it changes in the host's memory (12
            bytes a weight in float32 with `adamw`), to return to when it is stopped in the middle; without, signals
            wait for the end of the update, and an error within it leaves the last regular checkpoint.
        on_nonfinite: an optimizer step with a gradient that is NaN or infinite ends the run (`stop`), or is left out
            (`skip`; ten in a row end it).  Its batch is saved in the run folder's `nonfinite/`.
        samples_every: steps between files of sampled completions; 0 writes none.
        samples_limit: completions in such a file, in whole groups, the first ones of the step; null keeps all of them.
        export_every: steps between models in Hugging Face form in the run folder's `exports/`, all of which are kept; 0
            writes none before the end.
        keep_best: reward of the held-out prompts; the model with its highest mean of all evaluations is kept in the run
            folder's `best/`, in Hugging Face form.  null keeps none.
        push_to_hub: repository `owner/name` of the Hugging Face hub that the final model is uploaded to, with a model
            card; private if it has to be made.  null uploads nothing.
    """

    steps: PositiveInt | None = None
    epochs: PositiveFloat | None = None
    prompts_per_step: PositiveInt = 32
    group_size: PositiveInt = 8
    inner_epochs: PositiveInt = 1
    mini_batches: PositiveInt = 1
    micro_batch_tokens: PositiveInt | None = None
    recompute_logprobs: bool = False
    mask_truncated: bool | Literal["statistics"] = False
    dynamic_sampling_rounds: NonNegativeInt = 0
    checkpoint_every: NonNegativeInt = 50
    checkpoint_minutes: NonNegativeFloat = 0.0
    keep_checkpoints: PositiveInt = 2
    keep: Literal["all", "weights"] = "all"
    step_backup: bool = True
    on_nonfinite: Literal["stop", "skip"] = "stop"
    samples_every: NonNegativeInt = 10
    samples_limit: PositiveInt | None = None
    export_every: NonNegativeInt = 0
    keep_best: str | None = None
    push_to_hub: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise ConfigError(
                f"training.steps={self.steps} and training.epochs={self.epochs} both say how long the run is; leave one"
                " out (null)"
            )
        if self.epochs is None and self.steps is None:
            object.__setattr__(self, "steps", 100)

    @property
    def length(self) -> int:
        """Steps of the run, where they are known: `epochs` become steps when the prompts have been read."""
        assert self.steps is not None, "the run is given in epochs, and they are not counted yet"
        return int(self.steps)

    def in_steps(self, rows: int) -> TrainingConfig:
        """With `epochs` of so many prompts turned into steps, the last of which may begin the next epoch."""
        if self.epochs is None:
            return self
        return evolve(self, steps=math.ceil(self.epochs * rows / self.prompts_per_step), epochs=None)


@frozen
class EntropyConfig:
    """A bonus for entropy: a coefficient times the mean entropy of the tokens in the loss is subtracted from it.

    The mean is over tokens, whatever the aggregation of the loss; with its `top_entropy` over those that it keeps.

    Args:
        coef: the coefficient; with a target, the one of the first step.  0 gives no bonus.
        target: entropy in nats that the coefficient is adapted to: after a step whose `policy/entropy` is not above it,
            `delta` is added, else subtracted, and the bonus is given only in the step after one that was not above
            (Skywork-OR1, arXiv 2505.22312).  null leaves the coefficient as it is.
        delta: change of the coefficient after each step, with a target; null is 0.005.
        min_coef: smallest coefficient, with a target; null is 0.
        max_coef: largest coefficient, with a target; null is 1.
    """

    coef: NonNegativeFloat = 0.0
    target: PositiveFloat | None = None
    delta: PositiveFloat | None = None
    min_coef: NonNegativeFloat | None = None
    max_coef: PositiveFloat | None = None


@frozen
class ReferenceConfig:
    """The policy that a KL penalty pulls to; of the initial policy a copy, with LoRA that policy without its adapters.

    Args:
        sync_every: steps after which it is moved to the policy (TR-DPO, arXiv 2404.09656); 0 leaves it where it is.
        mixup: how far, reference = mixup * policy + (1 - mixup) * reference: 1 makes it the policy, and a small one
            after every step makes it an exponential moving average.
        dtype: of its weights: `bfloat16` takes half the memory of `float32`; null is that of the policy.
    """

    sync_every: NonNegativeInt = 0
    mixup: PositiveFloat = 1.0
    dtype: Literal["float32", "bfloat16"] | None = None


@frozen
class EvaluationConfig:
    """Held-out prompts, scored before and after training.

    Args:
        prompts: their source.
        every: also every this many steps; 0 only before and after.
        initial: whether the initial policy is evaluated before the first step; or the folder of a run that evaluated it
            with the same policy, prompts, rewards, seed and way of sampling, whose figures are taken.
        samples: completions of each prompt.
        temperature: of sampling; null takes that of training, 0 is greedy decoding.
    """

    prompts: HeldOutPromptsConfig
    every: NonNegativeInt = 0
    initial: bool | str = True
    samples: PositiveInt = 1
    temperature: NonNegativeFloat | None = None


@frozen
class TrainerConfig:
    """Devices, strategy, precision, callbacks and loggers of `lightning.pytorch.Trainer`.

    Args:
        accelerator: `auto`, `cpu`, `gpu`, ...
        devices: how many, which, or `auto`.
        num_nodes: machines.
        strategy: `auto`, `ddp`, `ddp_find_unused_parameters_true`, or `fsdp2`, which shards the model over all ranks.
        precision: `32-true` or `bf16-mixed`; for weights in bfloat16 see `policy.dtype`.
        deterministic: ask torch for deterministic algorithms.
        callbacks: Lightning callbacks as `{class_path: module.Class, init_args: {...}}`.
        logger: where metrics go besides `logs/metrics.csv`: `tensorboard`, `wandb`, `mlflow`, a list of them, or `csv`
            for nowhere else.
        loggers: further Lightning loggers in the form of `callbacks`.
        progress: show the live display.
        threads: CPU threads of torch in each process; null leaves torch's own choice.
    """

    accelerator: str = "auto"
    devices: int | str | list[int] = "auto"
    num_nodes: PositiveInt = 1
    strategy: str = "auto"
    precision: str = "32-true"
    deterministic: bool = False
    callbacks: list[dict[str, Any]] = field(factory=list)
    logger: str | list[str] = "tensorboard"
    loggers: list[dict[str, Any]] = field(factory=list)
    progress: bool = True
    threads: PositiveInt | None = None


@frozen
class PluginsConfig:
    """Installed plugins.

    Args:
        disable: names or distributions of plugins that are switched off, with their observers.
    """

    disable: list[str] = field(factory=list)
