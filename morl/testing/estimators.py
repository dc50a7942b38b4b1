"""The conformance check of advantage estimators, for plugin authors' tests as for morl's own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from morl.errors import ConfigError, suggest
from morl.testing.laws import ALWAYS, CLAIMS, Estimator, Law
from morl.testing.parts import drawn, judged
from morl.testing.strategies import reward_matrices
from morl.types import RewardMatrix


def check_advantage_estimator(
    factory: Callable[[], Estimator],
    *,
    claims: Collection[str] = (),
    without: Collection[str] = (),
    names: Sequence[str] | None = None,
    nonnegative: bool = False,
    complete: bool = False,
    max_examples: int = 50,
) -> None:
    """Checks an estimator against the laws, on examples that Hypothesis draws; the same ones on every run.

    Every estimator is held to these laws:

    - `form`: shapes (B,) and (B, K), the dtype of the rewards
    - `finite`: no NaN, no infinity, at any scale
    - `pure`: the same answer twice, nothing written to
    - `order`, `shards`, `labels`: no dependence on the order of completions, on ranks, on the numbering of groups
    - `missing`, `absent-reward`, `abstained`: NaN, masked and left out are one; no reward at all gives 0
    - `contributions`: add up to the advantage
    - `no-spread`: exactly 0 where nothing differs

    and to those it claims: `zero-mean`, `unit-deviation`, `unit-batch-deviation`, `shift`, `scale`, `scale-each`,
    `dead-reward`, `rounding`, `local`.

    Args:
        factory: makes the estimator; set eps to 0 if you claim a law of standard deviation or scale.
        claims: laws that the estimator claims besides.
        without: laws that it does not obey by design, such as `no-spread` for one without a baseline per group.
        names: reward names, for an estimator whose options name rewards; default r0, r1, ..
        nonnegative: only rewards of 0 and more, for an estimator that is defined for no others.
        complete: no reward is missing, for an estimator that refuses those.
        max_examples: per law.

    Raises:
        LawBroken: the estimator breaks a law, or raises where it should answer.
        ConfigError: a law that does not exist.
    """
    for chosen, known in ((claims, CLAIMS), (without, ALWAYS)):
        for name in chosen:
            if name not in known:
                raise ConfigError(f"unknown law {name!r}{suggest(name, known)}; there are: {', '.join(known)}")
    held = [law for name, law in ALWAYS.items() if name not in without]
    for law in (*held, *(CLAIMS[name] for name in claims)):
        examples: dict[str, Any] = {**law.examples, **({"missing": False} if complete else {})}
        _check(law, factory, reward_matrices(names=names, nonnegative=nonnegative, **examples), max_examples)


def _check(
    law: Law, factory: Callable[[], Estimator], matrices: st.SearchStrategy[RewardMatrix], max_examples: int
) -> None:
    @drawn(max_examples)
    @given(matrices, st.integers(0, 9))
    def holds(rewards: RewardMatrix, seed: int) -> None:
        estimator = factory()
        with judged(estimator, law.name, law.statement, table(rewards)):
            law.check(estimator, rewards, torch.Generator().manual_seed(seed))

    holds()


def table(rewards: RewardMatrix) -> str:
    """The rewards as text, a line per completion; masked values in parentheses."""
    rows = [["group", *(f"{name} (weight {rewards.weights.get(name, 1.0)})" for name in rewards.names)]]
    for group, values, valid in zip(
        rewards.group_ids_B.tolist(), rewards.values_BK.tolist(), rewards.valid_BK.tolist(), strict=True
    ):
        cells = (f"{v!r}" if ok or v != v else f"({v!r})" for v, ok in zip(values, valid, strict=True))
        rows.append([str(group), *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join([f"rewards, {rewards.values_BK.dtype}:", *(f"  {line}" for line in lines)])
