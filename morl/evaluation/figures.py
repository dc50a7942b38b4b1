"""From the scores of all completions to the figures that are reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from attrs import frozen
from torch import Tensor

from morl.evaluation.arguments import Measures
from morl.runtime.estimates import Estimate, estimate, is_binary, pass_at_k, prompt_means
from morl.runtime.scores import BatchScores


@frozen
class RewardFigures:
    """One reward over all completions.

    Attributes:
        mean: over prompts, of the mean of a prompt's scored completions; as scored, without weights and conditions.
        scored: completions that have a score.
        missing: that it did not apply to.
        failed: whose scoring failed, also where the failure policy then scored them 0.
    """

    mean: Estimate
    scored: int
    missing: int
    failed: int


@frozen
class PassFigures:
    """pass@k of one reward.

    Attributes:
        at_least: score from which on a completion is successful.
        at: chance that one of k completions is successful, by k.
    """

    at_least: float
    at: Mapping[int, Estimate]


@frozen
class Figures:
    """What an evaluation found.

    Attributes:
        prompts: held-out prompts.
        samples: completions of each.
        rewards: by name.
        passes: by the name of the reward.
        length: tokens of a completion.
        truncated: share of the completions that the token limit of sampling ended.
        limit: tokens; None where no limit was asked about.
        over_limit: share of the completions with more tokens than that.
    """

    prompts: int
    samples: int
    rewards: Mapping[str, RewardFigures]
    passes: Mapping[str, PassFigures]
    length: Estimate
    truncated: Estimate
    limit: int | None
    over_limit: Estimate | None


def figures(scores: BatchScores, names: Sequence[str], samples: int, measures: Measures) -> Figures:
    """Everything that is reported of the completions of all ranks.

    Args:
        scores: of all completions.
        names: of the K rewards.
        samples: completions of each prompt.
        measures: what to measure besides the means.
    """
    groups = scores.positions_B

    def over_prompts(values_B: Tensor) -> Estimate:
        return estimate(prompt_means(values_B.double(), groups), share=is_binary(values_B))

    values = dict(zip(names, scores.values_BK.T, strict=True))
    failed = dict(zip(names, scores.failed_BK.T, strict=True))
    success = measures.success or {name: 1.0 for name, values_B in values.items() if is_binary(values_B)}
    ks = measures.k or sorted({1, samples})
    limit = measures.limit
    return Figures(
        prompts=len(torch.unique(groups)),
        samples=samples,
        rewards={
            name: RewardFigures(
                mean=over_prompts(values_B),
                scored=int((~values_B.isnan()).sum()),
                missing=int((values_B.isnan() & ~failed[name]).sum()),
                failed=int(failed[name].sum()),
            )
            for name, values_B in values.items()
        },
        passes={
            name: PassFigures(
                at_least,
                {k: estimate(pass_at_k(_success(values[name], at_least), groups, k), share=True) for k in ks},
            )
            for name, at_least in success.items()
        },
        length=estimate(prompt_means(scores.lengths_B.double(), groups)),
        truncated=over_prompts(scores.truncated_B),
        limit=limit,
        over_limit=None if limit is None else over_prompts(scores.lengths_B > limit),
    )


def _success(values_B: Tensor, at_least: float) -> Tensor:
    return torch.where(values_B.isnan(), values_B, (values_B >= at_least).to(values_B.dtype))
