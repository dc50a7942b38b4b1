"""The checks of `against_trl.py`: options of GRPOConfig under TRL's own trainer, and morl's keys for them.

TRL trains for a few steps and keeps its rollouts and gradients; morl trains on the same rollouts, and each of its
optimizer steps must have the same gradient.  So the second and later steps compare the whole update as well: weights
that moved otherwise would give another gradient.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import define, evolve, field, frozen
from trl_cases import EOS, GROUP, REWARDS, SHORT, Case, make_prompts
from trl_runs import EnoughError, morl_config, trl_arguments

CHECKED = Case("tiny", SHORT, 24, natural=True, prompts=4, micro_batch=4 * GROUP)
"""What options are trained on: half of the completions reach the limit, and every pass holds a whole batch, because
some of TRL's options, such as `bnpo` and the quantile of entropies, are statistics of one pass."""

ROLLOUTS = 2
"""Batches that an option is trained on, each for `num_iterations` optimizer steps."""


@frozen
class Option:
    """What is set in TRL and in morl, and must come to the same.

    Attributes:
        trl: fields of GRPOConfig, over those of `trl_arguments`.
        morl: sections of the config, over those of `morl_config`.
        iterations: optimizer steps on each batch; from the second on ratios are not 1.
        noise: of log-probabilities that an engine of other numerics reports, in place of the policy's own.
    """

    trl: Mapping[str, Any] = field(factory=dict)
    morl: Mapping[str, Any] = field(factory=dict)
    iterations: int = 2
    noise: float = 0.0


def _loss(name: str = "clipped", **options: Any) -> dict[str, Any]:
    return {"loss": {"name": name, **options}}


_NARROW = {"epsilon": 0.01}
"""Bounds that ratios of a few optimizer steps leave."""
_ENGINE = {"vllm_importance_sampling_correction": True}

OPTIONS: Mapping[str, Option] = {
    "grpo": Option(_NARROW, _loss(clip_low=0.01, aggregation="grpo")),
    "adamw": Option({"optim": "adamw_torch", "learning_rate": 1e-4}, {"optimizer": {"lr": 1e-4}}),
    "dapo": Option(
        {"loss_type": "dapo", "epsilon": 0.01, "epsilon_high": 0.02, "mask_truncated_completions": True},
        {**_loss(clip_low=0.01, clip_high=0.02, aggregation="dapo"), "training": {"mask_truncated": True}},
    ),
    "bnpo": Option({"loss_type": "bnpo", **_NARROW}, _loss(clip_low=0.01, aggregation="bnpo")),
    "dr_grpo": Option(
        {"loss_type": "dr_grpo", "scale_rewards": "none", **_NARROW},
        {**_loss(clip_low=0.01, aggregation="dr_grpo"), "estimator": {"name": "grpo-no-std"}},
    ),
    "scale-batch": Option(
        {"scale_rewards": "batch"},
        {**_loss(aggregation="grpo"), "estimator": {"name": "grpo", "preset": "trl", "scale": "batch"}},
    ),
    "gdpo": Option(
        {"multi_objective_aggregation": "normalize_then_sum"},
        {**_loss(aggregation="grpo"), "estimator": {"name": "gdpo", "preset": "trl"}},
    ),
    "gspo": Option(
        {"importance_sampling_level": "sequence", "epsilon": 1e-3, "epsilon_high": 2e-3},
        _loss("gspo", clip_low=1e-3, clip_high=2e-3),
    ),
    "cispo": Option({"loss_type": "cispo", "epsilon_high": 1.01}, _loss("cispo", max_ratio=1.01)),
    "sapo": Option(
        {"loss_type": "sapo", "sapo_temperature_pos": 2.0, "sapo_temperature_neg": 3.0},
        _loss("sapo", temperature_positive=2.0, temperature_negative=3.0),
    ),
    "luspo": Option(
        {"loss_type": "luspo", "importance_sampling_level": "sequence", "epsilon": 1e-3},
        _loss("luspo", clip_low=1e-3, clip_high=None),
    ),
    "vespo": Option(
        {
            "loss_type": "vespo",
            "vespo_k_pos": 1.0,
            "vespo_lambda_pos": 1.5,
            "vespo_k_neg": 1.5,
            "vespo_lambda_neg": 1.0,
        },
        _loss("vespo", k_positive=1.0, lambda_positive=1.5, k_negative=1.5, lambda_negative=1.0),
    ),
    "delta": Option({**_NARROW, "delta": 1.02}, _loss(clip_low=0.01, delta=1.02, aggregation="grpo")),
    "kl": Option(
        {"beta": 0.5, "use_bias_correction_kl": False}, _loss(kl_coef=0.5, kl_estimator="k3", aggregation="grpo")
    ),
    "kl-unbiased": Option({"beta": 0.5}, _loss(kl_coef=0.5, kl_unbiased=True, aggregation="grpo")),
    "reference-moved": Option(
        {"beta": 0.5, "sync_ref_model": True, "ref_model_sync_steps": 1, "ref_model_mixup_alpha": 0.6},
        {
            **_loss(kl_coef=0.5, kl_unbiased=True, aggregation="grpo"),
            "reference": {"sync_every": 1, "mixup": 0.6},
        },
        iterations=1,  # there it moves after every optimizer step, here after every batch
    ),
    # TRL ranks the entropies of each pass, morl those at the start of the update: the same in its first step.
    "top-entropy": Option({"top_entropy_quantile": 0.3}, _loss(top_entropy=0.3, aggregation="grpo"), iterations=1),
    "off-policy": Option({"off_policy_mask_threshold": 1e-4}, _loss(off_policy_threshold=1e-4, aggregation="grpo")),
    "entropy": Option({"entropy_coef": 0.1, "loss_type": "dapo"}, {**_loss(), "entropy": {"coef": 0.1}}),
    "entropy-adaptive": Option(
        {
            "use_adaptive_entropy": True,
            "entropy_target": 9.0,
            "entropy_coef": 0.1,
            "entropy_coef_delta": 0.05,
            "loss_type": "dapo",
        },
        {**_loss(), "entropy": {"coef": 0.1, "target": 9.0, "delta": 0.05}},
        iterations=1,
    ),
    "temperature": Option({"temperature": 0.7}, {**_loss(aggregation="grpo"), "sampling": {"temperature": 0.7}}),
    "tis": Option(
        {**_ENGINE, "vllm_importance_sampling_mode": "token_truncate", "vllm_importance_sampling_clip_max": 1.2},
        {**_loss(aggregation="grpo"), "importance": {"correction": "truncated", "level": "token", "high": 1.2}},
        noise=0.3,
    ),
    "mis": Option(
        {
            **_ENGINE,
            "vllm_importance_sampling_mode": "sequence_mask",
            "vllm_importance_sampling_clip_min": 0.5,
            "vllm_importance_sampling_clip_max": 2.0,
        },
        {
            **_loss(aggregation="grpo"),
            "importance": {"correction": "masked", "level": "sequence", "low": 0.5, "high": 2.0},
        },
        noise=0.3,
    ),
}
"""By name; `--check --options` picks some of them."""


@define
class Seen:
    """What a run came to.

    Attributes:
        completions: token ids of each completion, for each batch.
        logprobs: those that sampling reported, in the same form; None where it reported none.
        advantages: (B,) for each batch.
        gradients: one for each optimizer step, before it is clipped.
    """

    completions: list[list[list[int]]] = field(factory=list)
    logprobs: list[list[list[float]] | None] = field(factory=list)
    advantages: list[Any] = field(factory=list)
    gradients: list[Any] = field(factory=list)


def check(case: Case, folder: Path) -> tuple[float, float]:
    """Of plain GRPO, the first step: how far advantages (absolute) and gradient (relative) are from TRL's."""
    return apart(case, folder, Option({}, _loss(aggregation="grpo"), iterations=1), rollouts=1)


def apart(case: Case, folder: Path, option: Option, rollouts: int = ROLLOUTS) -> tuple[float, float]:
    """The largest differences of advantages (absolute) and gradients (relative) of an option's training."""
    case = evolve(case, inner_epochs=option.iterations)
    theirs = train_trl(case, folder, option, rollouts)
    ours = train_morl(case, folder, option, theirs)
    assert len(ours.gradients) == len(theirs.gradients) == rollouts * option.iterations
    advantages = [float((a - b).abs().max()) for a, b in zip(ours.advantages, theirs.advantages, strict=True)]
    gradients = [float((a - b).norm() / b.norm()) for a, b in zip(ours.gradients, theirs.gradients, strict=True)]
    return max(advantages), max(gradients)


def train_trl(case: Case, folder: Path, option: Option, rollouts: int) -> Seen:
    """TRL's own trainer, which samples."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOTrainer

    seen = Seen()

    class Recorded(GRPOTrainer):  # type: ignore[misc]
        def _generate_single_turn(self, prompt_ids: Any, *arguments: Any, **options: Any) -> Any:
            self.use_vllm = False  # the engine is transformers', whatever it reports
            sampled, logprobs = super()._generate_single_turn(prompt_ids, *arguments, **options)
            if option.noise:
                self.use_vllm, logprobs = True, noisy_logprobs(self.model, prompt_ids, sampled, option.noise)
            seen.completions.append(sampled)
            seen.logprobs.append(logprobs)
            return sampled, logprobs

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            output = super()._generate_and_score_completions(inputs)
            seen.advantages.append(output["advantages"].clone())
            # The ratio to what sampled, of losses that take it, is that to the policy at the start of the update.
            if seen.logprobs[-1] is None and "old_per_token_logps" in output:
                rows = zip(output["old_per_token_logps"].tolist(), seen.completions[-1], strict=True)
                seen.logprobs[-1] = [row[: len(ids)] for row, ids in rows]
            return output

    class Gradient(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            seen.gradients.append(gradient_of(model))
            if len(seen.gradients) == rollouts * option.iterations:
                raise EnoughError

    fields = {"max_grad_norm": 0.0, "optim": "sgd", "learning_rate": RATE, **option.trl}
    trainer = Recorded(
        model=AutoModelForCausalLM.from_pretrained(folder),
        processing_class=AutoTokenizer.from_pretrained(folder),
        args=trl_arguments(case, folder / "trl", **fields),
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in make_prompts(case, case.prompts * rollouts)]),
        reward_funcs=list(REWARDS.values()),
        callbacks=[Gradient()],
    )
    with suppress(EnoughError):
        trainer.train()
    return seen


RATE = 0.01
"""Learning rate of plain SGD, whose steps follow the gradient; Adam's first ones follow its sign, and so rounding."""


def noisy_logprobs(
    model: Any, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], noise: float
) -> list[list[float]]:
    """The model's log-probabilities of the completions, each moved at random."""
    import torch

    generator = torch.Generator().manual_seed(0)
    rows = []
    for prompt, completion in zip(prompts, completions, strict=True):
        with torch.no_grad():
            logits_TV = model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]
        logprobs_T = logits_TV.log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0]
        rows.append((logprobs_T + noise * torch.randn(len(completion), generator=generator)).tolist())
    return rows


def train_morl(case: Case, folder: Path, option: Option, given: Seen) -> Seen:
    """morl, on the rollouts that TRL made."""
    import lightning.pytorch as L

    import morl
    from morl.rollout.transformers import TransformersBackend

    seen = Seen()
    rollouts = len(given.completions)

    class Replay(TransformersBackend):
        def generate(self, prompts: Any, *_: Any) -> Any:
            batch = len(seen.completions)
            seen.completions.append(given.completions[batch])
            return rollout_batch(prompts, given.completions[batch], given.logprobs[batch], batch)

    class Watch:
        @morl.hookimpl
        def morl_advantages_ready(self, advantages: Any) -> None:
            seen.advantages.append(advantages.values_B)

    class Gradient(L.Callback):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            seen.gradients.append(gradient_of(pl_module.policy.model))
            if len(seen.gradients) == len(given.gradients):
                raise EnoughError

    with tempfile.TemporaryDirectory() as output, suppress(EnoughError):
        morl.train(
            morl_options(morl_config(case, output), option),
            policy=str(folder),
            prompts=[morl.Prompt(text) for text in make_prompts(case, case.prompts * rollouts)],
            rewards=REWARDS,
            rollout=Replay(),
            callbacks=[Gradient()],
            plugins=[Watch()],
        )
    return seen


def morl_options(config: dict[str, Any], option: Option) -> dict[str, Any]:
    """The config with the option's keys, and what makes plain comparisons of it."""
    checked = {
        "optimizer": {"name": "torch", "class_path": "SGD", "lr": RATE, "max_grad_norm": 0.0},
        "rollout": {"max_logprob_difference": 0},
        "training": {"recompute_logprobs": True},  # as TRL does
    }
    if "optimizer" in option.morl:
        checked["optimizer"] = {"max_grad_norm": 0.0}
    if "importance" in option.morl:
        checked["training"] = {}  # recomputed for the correction
    for sections in (checked, option.morl):
        for name, values in sections.items():
            config[name] = {**config.get(name, {}), **values}
    for name in ("estimator", "loss"):  # parts of their own
        config[name] = dict(option.morl.get(name, config[name]))
    return config


def rollout_batch(prompts: Any, completions: list[list[int]], logprobs: list[list[float]] | None, version: int) -> Any:
    """What a backend of morl would have given."""
    import torch

    from morl.types import RolloutBatch

    lengths_B = torch.tensor([len(ids) for ids in completions])
    mask_BT = torch.arange(int(lengths_B.max())) < lengths_B[:, None]
    ids_BT, logprobs_BT = torch.zeros(mask_BT.shape, dtype=torch.int64), torch.zeros(mask_BT.shape)
    ids_BT[mask_BT] = torch.tensor([token for ids in completions for token in ids])
    if logprobs is not None:
        logprobs_BT[mask_BT] = torch.tensor([value for row in logprobs for value in row])
    return RolloutBatch(
        prompts=tuple(prompts),
        group_ids_B=torch.arange(len(prompts)).repeat_interleave(GROUP),
        completion_ids_BT=ids_BT,
        completion_mask_BT=mask_BT,
        rollout_logprobs_BT=logprobs_BT,
        truncated_B=torch.tensor([ids[-1] != EOS for ids in completions]),
        texts=("",) * len(completions),
        weights_versions_B=torch.full((len(completions),), version),
    )


def gradient_of(model: Any) -> Any:
    """The gradient of all parameters on one axis."""
    import torch

    return torch.cat([parameter.grad.flatten() for _, parameter in sorted(model.named_parameters())])
