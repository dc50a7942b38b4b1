"""The conformance check of weightings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from morl.advantage import GDPO
from morl.advantage.weighting import weights_of
from morl.copies import copied
from morl.states import same
from morl.testing.estimators import table
from morl.testing.parts import drawn, held, judged, restored, state_of
from morl.testing.strategies import reward_matrices
from morl.types import RewardMatrix

LAWS = {
    "form": "The answer is finite numbers, (K,) or (B, K).",
    "pure": "Asking twice gives the same answer; neither the rewards nor the state change.",
    "order": "Permuting the completions permutes weights per completion and leaves weights per reward.",
    "labels": "Group ids are labels: other ids for the same groups give the same weights.",
    "missing": "What stands beneath the mask of a missing reward does not matter.",
    "update": "What adapts follows from what it was shown: two weightings that saw the same answer the same.",
    "state": "What adapts has a state of plain values, from which another continues as this one would have.",
}


def check_weighting(
    factory: Callable[[], Any],
    *,
    without: Collection[str] = (),
    names: Sequence[str] | None = None,
    max_examples: int = 25,
) -> None:
    """Checks a weighting on reward matrices that Hypothesis draws; the same ones on every run.

    The laws are `form`, `pure`, `order`, `labels`, `missing`, `update` and `state`; see `LAWS`.

    Args:
        factory: makes the weighting, in its initial state.
        without: laws that it does not keep by design.
        names: reward names, for a weighting whose options name rewards; default r0, r1, ..
        max_examples: per law.

    Raises:
        LawBroken: the weighting breaks a law, or raises where it should answer.
        ConfigError: a law that does not exist.
    """
    for law, statement in held(LAWS, without).items():
        _check(law, statement, factory, names, max_examples)


def _check(
    law: str, statement: str, factory: Callable[[], Any], names: Sequence[str] | None, max_examples: int
) -> None:
    @drawn(max_examples)
    @given(reward_matrices(names=names, max_rewards=2, bounded=True), st.integers(0, 9))
    def holds(rewards: RewardMatrix, seed: int) -> None:
        weighting = factory()
        with judged(weighting, law, statement, table(rewards)):
            _CHECKS[law](factory, weighting, rewards, torch.Generator().manual_seed(seed))

    holds()


def _form(factory: Callable[[], Any], weighting: Any, rewards: RewardMatrix, random: torch.Generator) -> None:
    weights_of(weighting, rewards)


def _pure(factory: Callable[[], Any], weighting: Any, rewards: RewardMatrix, random: torch.Generator) -> None:
    shown, before = copied(rewards), state_of(weighting)
    first = weighting(shown).clone()
    _alike(first, weighting(shown), "first, then")
    for name in ("values_BK", "valid_BK", "group_ids_B", "lengths_B"):
        assert same(getattr(shown, name), getattr(rewards, name)), f"{name} was written to"
    assert same(state_of(weighting), before), f"the state was {before} and is {state_of(weighting)} after a question"


def _order(factory: Callable[[], Any], weighting: Any, rewards: RewardMatrix, random: torch.Generator) -> None:
    rows = torch.randperm(len(rewards.values_BK), generator=random)
    weights, permuted = weighting(rewards), weighting(rewards.take(rows))
    _alike(weights[rows] if weights.ndim == 2 else weights, permuted, f"rows taken as {rows.tolist()}")


def _labels(factory: Callable[[], Any], weighting: Any, rewards: RewardMatrix, random: torch.Generator) -> None:
    other = 1000 - 7 * torch.unique(rewards.group_ids_B, return_inverse=True)[1]
    _alike(weighting(rewards), weighting(evolve(rewards, group_ids_B=other)), f"ids {other.tolist()}")


def _missing(factory: Callable[[], Any], weighting: Any, rewards: RewardMatrix, random: torch.Generator) -> None:
    nan = evolve(rewards, values_BK=torch.where(rewards.valid_BK, rewards.values_BK, torch.nan))
    masked = evolve(rewards, values_BK=torch.where(rewards.valid_BK, rewards.values_BK, 1e6))
    _alike(weighting(nan), weighting(masked), "NaN against masked 1e6")


def _update(factory: Callable[[], Any], weighting: Any, rewards: RewardMatrix, random: torch.Generator) -> None:
    other = factory()
    for each in (weighting, other):
        _adapt(each, rewards, times=2)
    _alike(weighting(rewards), other(rewards), "one and another that saw the same")
    assert same(state_of(weighting), state_of(other)), f"states {state_of(weighting)} and {state_of(other)}"


def _state(factory: Callable[[], Any], weighting: Any, rewards: RewardMatrix, random: torch.Generator) -> None:
    if not hasattr(weighting, "state_dict"):
        assert not hasattr(weighting, "update"), "it adapts in update() but has no state_dict(), so no run can resume"
        return
    _adapt(weighting, rewards, times=1)
    other = restored(factory, weighting)
    _alike(weighting(rewards), other(rewards), "before and after the state was restored")
    for each in (weighting, other):
        _adapt(each, rewards, times=1)
    _alike(weighting(rewards), other(rewards), "one step after the state was restored")


def _adapt(weighting: Any, rewards: RewardMatrix, times: int) -> None:
    if hasattr(weighting, "update"):
        for _ in range(times):
            weighting.update(copied(rewards), GDPO(weighting=weighting)(rewards))


def _alike(expected: Tensor, got: Tensor, what: str) -> None:
    close = expected.shape == got.shape and torch.allclose(got, expected, rtol=1e-6, atol=1e-9)
    assert close, f"{what}: expected {expected.tolist()}, got {got.tolist()}"


_CHECKS = {
    "form": _form,
    "pure": _pure,
    "order": _order,
    "labels": _labels,
    "missing": _missing,
    "update": _update,
    "state": _state,
}
