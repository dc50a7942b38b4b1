"""`morl replay`: the rewards of a logged step under another estimator; no model is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from attrs import define, evolve, field, frozen
from torch import Tensor

from morl.errors import ConfigError, DataError, suggest
from morl.integrations import estimator, matrix
from morl.integrations.matrix import asked
from morl.integrations.stateful import check_parts, state_of
from morl.report.samples import Sample, StepSamples
from morl.report.view import View
from morl.types import Advantages, RewardMatrix

DECIMALS = 9
"""As `advantage/distinct` counts."""
OWN = "own"
"""What the answer of the run's own estimator is called beside `logged`."""


@frozen(eq=False)
class Replayed:
    """Advantages of one step, and what a batch of them is like.

    Attributes:
        name: of the estimator; `logged` for what the run had.
        values_B: advantages.
        distinct: number of different ones.
        dead_groups: share of groups whose advantages are all 0.
        shares: share of each reward in the advantage, cov(contribution, advantage) / var(advantage); empty where the
            file has no contributions.
    """

    name: str
    values_B: Tensor
    distinct: int
    dead_groups: float
    shares: Mapping[str, float]

    @classmethod
    def of(cls, name: str, rewards: RewardMatrix, values_B: Tensor, contributions_BK: Tensor | None) -> Replayed:
        """Figures of an answer, by the formulas of the metrics of the same names."""
        zero = values_B.abs() < 10.0**-DECIMALS
        groups = [bool(zero[rewards.group_ids_B == group].all()) for group in rewards.group_ids_B.unique()]
        shares: dict[str, float] = {}
        if contributions_BK is not None and float(values_B.square().sum()) > 0:
            parts = contributions_BK.T @ values_B / values_B.square().sum()
            shares = dict(zip(rewards.names, parts.tolist(), strict=True))
        distinct = len(torch.unique((values_B * 10**DECIMALS).round()))
        return cls(name, values_B, distinct, sum(groups) / len(groups), shares)


@define(eq=False)
class Replay:
    """A step under two estimators.

    Attributes:
        rewards: of the step.
        found: the logged advantages, if any, and those of the named estimator.
        notes: what makes the second differ from what a run would have had, a sentence each.
    """

    rewards: RewardMatrix
    found: list[Replayed] = field(factory=list)
    notes: list[str] = field(factory=list)


@frozen(eq=False)
class LoggedWeights:
    """The weights that a run used, in place of a weighting whose state is gone."""

    weights_BK: Tensor

    def __call__(self, rewards: RewardMatrix) -> Tensor:
        """(B, K)."""
        return self.weights_BK


def logged(step: StepSamples, weights: Mapping[str, float]) -> tuple[RewardMatrix, Replayed | None]:
    """The rewards of a step, and the advantages that it had; None where the file does not say.

    Raises:
        DataError: completions that do not have the same rewards.
    """
    samples = step.samples
    names = tuple(samples[0].rewards)
    if any(tuple(one.rewards) != names for one in samples):
        raise DataError(f"the samples of step {step.step} do not all have the rewards {', '.join(names)}")
    columns = {name: [one.rewards[name] for one in samples] for name in names}
    groups = [one.group for one in samples]
    # The estimator of step n was told of n - 1 finished ones.
    rewards = matrix(columns, groups, weights=weights, step=max(0, step.step - 1))
    seen_B = ~torch.tensor([one.left_out for one in samples])
    rewards = evolve(rewards, valid_BK=rewards.valid_BK & seen_B[:, None], **_of_tokens(samples))
    if any(one.advantage is None for one in samples):
        return rewards, None
    values = torch.tensor([one.advantage for one in samples], dtype=torch.float64)
    contributions = None
    if all(one.contributions.keys() >= set(names) for one in samples):
        rows = [[one.contributions[name] for name in names] for one in samples]
        contributions = torch.tensor(rows, dtype=torch.float64)
    return rewards, Replayed.of("logged", rewards, values, contributions)


def _of_tokens(samples: Sequence[Sample]) -> dict[str, Any]:
    """Lengths, where turns lie, and what was given for them; tokens of the environment are left out between turns."""
    if any(one.tokens is None for one in samples):
        return {}
    lengths = [one.tokens or 0 for one in samples]
    found: dict[str, Any] = {"lengths_B": torch.tensor(lengths)}
    turns = [_turns(one, length) for one, length in zip(samples, lengths, strict=True)]
    whole = [own for own in turns if own is not None]
    if len(whole) < len(turns):
        return found
    ends = [list(accumulate(tokens for tokens, _ in own)) for own in whole]
    found["spans"] = tuple(tuple(zip([0, *own[:-1]], own, strict=True)) for own in ends)
    given = tuple(tuple(earned for _, earned in own) for own in whole)
    return found | ({"turn_rewards": given} if any(any(own) for own in given) else {})


def _turns(sample: Sample, length: int) -> list[tuple[int, dict[str, float]]] | None:
    """Tokens of each turn and what it was given; None where the file says what cannot be, or nothing that adds up."""
    try:
        own = [
            (
                int(turn.get("tokens", 0)),
                {name: float(value) for name, value in (turn.get("rewards") or {}).items() if value is not None},
            )
            for turn in sample.turns
        ] or [(length, {})]
    except (AttributeError, OverflowError, TypeError, ValueError):
        return None
    lengths = [tokens for tokens, _ in own]
    return own if min(lengths) >= 0 and sum(lengths) == length else None


def replay(view: View, step: StepSamples, name: str | None, settings: Mapping[str, Any]) -> Replay:
    """The logged advantages, if any, and those of an estimator.

    Args:
        name: of the estimator; None is the run's own with its options.
        settings: options of the estimator, and `weights.<reward>` for other weights than the config's.

    Raises:
        ConfigError: a weight of a reward that is not there; options that the estimator refuses; no estimator.
        PluginError: an unknown estimator.
    """
    names = list(step.samples[0].rewards)
    weights = {reward: view.weight(reward) for reward in names}
    options = {} if name is not None else _own_options(view)
    reweighted = False
    for key, value in settings.items():
        head, dot, reward = key.partition(".")
        if head != "weights" or not dot:
            options[key] = value
            continue
        if reward not in names:
            raise ConfigError(
                f"--set {key}: unknown reward {reward!r}{suggest(reward, names)}; rewards: {', '.join(names)}"
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"--set {key}: a weight must be a number; got {value!r}")
        weights[reward] = float(value)
        reweighted = True
    chosen = estimator(name or view.estimator, **options)
    rewards, own = logged(step, weights)
    rewards = evolve(rewards, bounds=_bounds(view, step, names))
    notes = _partial(view, step)
    if adapts := list(state_of(chosen)):
        used = _logged_weights(step, names)
        if name is None and adapts == ["weighting"] and used is not None and not reweighted:
            options["weighting"] = LoggedWeights(used)
            chosen = estimator(view.estimator, **options)
            notes.append("The weighting adapts from step to step; its weights are those that the step was logged with.")
        else:
            notes.append(
                f"The {' and the '.join(adapts)} of {name or view.estimator} adapts from step to step; it begins anew"
                " here, as in the first step of a run."
            )
    check_parts(chosen, names, rewards.bounds, weights)
    answer: Advantages = _ask(chosen, rewards)
    if answer.values_BT is not None:
        notes.append("It gives advantages to tokens: shown are their means over completions.")
    values, contributions = answer.values_B.double(), answer.contributions_BK.double()
    label = name or OWN
    return Replay(
        rewards, [*([own] if own is not None else []), Replayed.of(label, rewards, values, contributions)], notes
    )


def _ask(chosen: Any, rewards: RewardMatrix) -> Advantages:
    if getattr(chosen, "needs_turns", False) and rewards.spans is None:
        raise DataError("morl replay: the samples do not say how many tokens each turn has, which this estimator needs")
    return asked(chosen, rewards, "morl replay", tokens=True)


def _own_options(view: View) -> dict[str, Any]:
    """The options of the run's estimator."""
    section = view.config.get("estimator")
    if not isinstance(section, dict) or "name" not in section:
        raise ConfigError(
            f"morl replay: the config.yaml of {view.folder} does not say which estimator the run had; name one with"
            " --estimator"
        )
    return {key: value for key, value in section.items() if key != "name"}


def _bounds(view: View, step: StepSamples, names: list[str]) -> dict[str, tuple[float, float]]:
    """Those that the run had; of an older one those that its config declares, without those of providers."""
    return {name: pair for name in names if (pair := view.bounds(step, name)) is not None}


def _logged_weights(step: StepSamples, names: list[str]) -> Tensor | None:
    if not all(one.weights.keys() >= set(names) for one in step.samples):
        return None
    return torch.tensor([[one.weights[name] for name in names] for one in step.samples], dtype=torch.float64)


def _partial(view: View, step: StepSamples) -> list[str]:
    """Says so where the file has a part of the batch: statistics of the batch are then those of this part."""
    training = view.config.get("training")
    section = training if isinstance(training, dict) else {}
    prompts, size = section.get("prompts_per_step"), section.get("group_size")
    full = prompts * size if isinstance(prompts, int) and isinstance(size, int) else 0
    unread = step.left_out + step.faults
    if not unread and len(step.samples) >= full:
        return []
    of = f" of up to {full}" if full > len(step.samples) else ""
    more = f", and {unread} more lines that are not read" if unread else ""
    return [
        f"The file has {len(step.samples)}{of} completions of the step{more}; where an estimator normalises over the"
        " batch, it is over these."
    ]


def table(replayed: Replay, rows: int) -> str:
    """The figures side by side, then the first completions."""
    rewards, found = replayed.rewards, replayed.found
    width = max(14, *(len(f"share of {name}") for name in rewards.names))
    lines = [f"{'':{width}} " + " ".join(f"{one.name:>14.14}" for one in found)]
    lines.append(f"{'distinct':{width}} " + " ".join(f"{one.distinct:14d}" for one in found))
    lines.append(f"{'dead groups':{width}} " + " ".join(f"{one.dead_groups:14.1%}" for one in found))
    for name in rewards.names:
        shares = [f"{one.shares[name]:.1%}" if name in one.shares else "-" for one in found]
        lines.append(f"{f'share of {name}':{width}} " + " ".join(f"{share:>14}" for share in shares))
    if len(found) == 2:
        signs = int((found[0].values_B * found[1].values_B < 0).sum())
        lines.append(f"{signs} of {len(rewards.values_BK)} advantages have another sign than logged.")
    lines += replayed.notes
    heads = [f"{name:>10.10}" for name in rewards.names]
    lines += ["", " ".join(["completion group", *heads, "|", *(f"{one.name:>14.14}" for one in found)])]
    for row in range(min(rows, len(rewards.values_BK))):
        scores = [f"{score:10.4g}" if score == score else f"{'-':>10}" for score in rewards.values_BK[row].tolist()]
        values = [f"{float(one.values_B[row]):14.6f}" for one in found]
        lines.append(" ".join([f"{row:10d} {int(rewards.group_ids_B[row]):5d}", *scores, "|", *values]))
    if rows < len(rewards.values_BK):
        lines.append(f"... {len(rewards.values_BK) - rows} more")
    return "\n".join(lines)
