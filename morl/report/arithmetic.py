"""From the scores of a step to the contributions of its rewards, as arithmetic that the logged numbers bear out.

No formula is taken for granted because of an estimator's name: what is said of a step holds for every completion of its
file, to a millionth of the largest contribution.  Where none of the usual forms does, that is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from attrs import field, frozen

from morl.advantage.options import DEFAULT_EPS
from morl.advantage.presets import GDPO_PRESETS, GRPO_PRESETS, Knobs
from morl.report.samples import StepSamples
from morl.report.view import View

Floats: TypeAlias = npt.NDArray[np.float64]
Form: TypeAlias = Literal["normalised", "centred", ""]
CLOSE = 1e-6
"""Of the largest contribution, or of a divisor."""
SUMS_FIRST = ("grpo", "grpo-no-std")
"""Estimators that normalise the sum; with a single reward both forms can hold, and theirs is tried first."""


@frozen(eq=False)
class Statistics:
    """Of each reward in the group of each completion, (B, K); NaN where it has no score.

    Attributes:
        seen_BK: scores as the estimator saw them.
        mean_BK: over the group.
        std_BK: standard deviation; exactly 0 where all scores are equal, NaN of fewer than two.
        number_BK: scores in the group.
    """

    seen_BK: Floats
    mean_BK: Floats
    std_BK: Floats
    number_BK: Floats

    @classmethod
    def of(cls, seen_BK: Floats, groups_B: npt.NDArray[np.int64], ddof: int) -> Statistics:
        """Statistics of every group."""
        mean_BK, std_BK, number_BK = (np.full_like(seen_BK, math.nan) for _ in range(3))
        for rows in rows_of_groups(groups_B):
            for k, column in enumerate(seen_BK[rows].T):
                there = column[~np.isnan(column)]
                number_BK[rows, k] = len(there)
                if len(there):
                    mean_BK[rows, k] = np.mean(there)
                if len(there) > 1:
                    # Of equal scores it is exactly 0, which rounding of their mean would spoil.
                    std_BK[rows, k] = np.std(there, ddof=ddof) if there.min() < there.max() else 0.0
        return cls(seen_BK, mean_BK, std_BK, number_BK)


@frozen(eq=False)
class Arithmetic:
    """How the contributions of a step come about.

    Attributes:
        names: of the rewards.
        statistics: of their groups.
        weights_BK: as the estimator used them; those of the config where the file, of an older run, does not say.
        contributions_BK: logged; NaN where the file does not say.
        form: `normalised`, the weights times (score - mean) / std; `centred`, times score - mean; empty where the
            logged contributions are neither, divided by one number for the step or for each group.
        weighted_BK: of that form; 0 where a reward is missing or does not vary.
        divisor_B: what the weighted ones are divided by.
        because: what the divisor is; empty where there is none.
        shifted: the mean of the weighted sums is taken from them.
    """

    names: tuple[str, ...]
    statistics: Statistics
    weights_BK: Floats
    contributions_BK: Floats
    form: Form = ""
    weighted_BK: Floats = field(factory=lambda: np.zeros((0, 0)))
    divisor_B: Floats = field(factory=lambda: np.zeros(0))
    because: str = ""
    shifted: bool = False

    @classmethod
    def of(cls, view: View, step: StepSamples) -> Arithmetic:
        """The arithmetic of a step; of completions with unlike rewards there is none but the statistics."""
        samples = step.samples
        names = tuple(dict.fromkeys(name for one in samples for name in one.rewards))
        options, settings = _options(view)
        groups_B = np.unique([one.group for one in samples], return_inverse=True)[1]
        seen_BK = _matrix([[one.seen(name) if name in one.rewards else None for name in names] for one in samples])
        with np.errstate(all="ignore"):  # of scores that overflow
            statistics = Statistics.of(seen_BK, groups_B, 0 if options.get("ddof") == 0 else 1)
        configured = {name: view.weight(name) for name in names}
        weights_BK = _matrix([[one.weights.get(name, configured[name]) for name in names] for one in samples])
        logged_BK = _matrix([[one.contributions.get(name) for name in names] for one in samples])
        plain = cls(names, statistics, weights_BK, logged_BK)
        with np.errstate(all="ignore"):
            return next(_forms(plain, groups_B, options, settings), plain)


def _forms(
    plain: Arithmetic, groups_B: npt.NDArray[np.int64], options: Mapping[str, Any], settings: Knobs
) -> Iterator[Arithmetic]:
    """The arithmetic in each form that the logged contributions bear out."""
    if np.isnan(plain.contributions_BK).any() or not plain.contributions_BK.any():
        return
    whole = [np.arange(len(groups_B))]
    groups = list(rows_of_groups(groups_B))
    forms: list[Form] = ["normalised", "centred"]
    if str(options.get("name", "")).removeprefix("conditioned-") in SUMS_FIRST:
        forms.reverse()
    ddof = 0 if options.get("ddof") == 0 else 1
    for form in forms:
        weighted_BK = _weighted(plain, form, settings.group_eps)
        for blocks, where in ((whole, "step"), (groups, "group")):
            if form == "normalised" and where == "group":
                continue
            shifted_BK = _centred(plain, weighted_BK, whole if form == "normalised" else groups)
            divisor_B = _divisors(shifted_BK, plain.contributions_BK, blocks)
            if divisor_B is None:
                continue
            because = _because(plain, shifted_BK, divisor_B, blocks, where, ddof, settings.eps)
            yield Arithmetic(
                plain.names,
                plain.statistics,
                plain.weights_BK,
                plain.contributions_BK,
                form,
                shifted_BK,
                divisor_B,
                because,
                bool((shifted_BK != weighted_BK).any()),
            )


def _weighted(plain: Arithmetic, form: Form, group_eps: float) -> Floats:
    found = plain.statistics
    above_BK = found.seen_BK - found.mean_BK
    varies_BK = found.std_BK > 0
    if form == "normalised":
        above_BK = np.divide(above_BK, found.std_BK + group_eps, out=np.zeros_like(above_BK), where=varies_BK)
    terms_BK: Floats = np.where(varies_BK & ~np.isnan(found.seen_BK), above_BK * plain.weights_BK, 0.0)
    return terms_BK


def _centred(plain: Arithmetic, weighted_BK: Floats, blocks: list[npt.NDArray[np.int64]]) -> Floats:
    """Less the mean of the sums, in equal parts, where weights tell completions of a group apart; else as they are."""
    shifted_BK = weighted_BK.copy()
    there_BK = ~np.isnan(plain.statistics.seen_BK) & (plain.weights_BK != 0).any(0)
    for rows in blocks:
        there, counted = there_BK[rows], there_BK[rows].any(1)
        sums = weighted_BK[rows].sum(1)[counted]
        if not len(sums) or abs(sums.mean()) <= 1e-12 * np.abs(sums).max():
            continue
        share = there / np.maximum(there.sum(1, keepdims=True), 1)
        shifted_BK[rows] -= np.where(counted, sums.mean(), 0.0)[:, None] * share
    return shifted_BK


def _divisors(weighted_BK: Floats, contributions_BK: Floats, blocks: list[npt.NDArray[np.int64]]) -> Floats | None:
    """One divisor for each block with which all contributions come out; infinite where they are 0; None if none."""
    divisor_B = np.ones(len(weighted_BK))
    allowed = CLOSE * np.abs(contributions_BK).max()
    for rows in blocks:
        terms, logged = weighted_BK[rows], contributions_BK[rows]
        products = float((terms * logged).sum())
        divisor = float((terms * terms).sum()) / products if products > 0 else math.inf
        if not np.abs(terms / divisor - logged).max() <= allowed:  # NaN, of scores that overflow, is no agreement
            return None
        divisor_B[rows] = divisor
    return divisor_B


def _because(
    plain: Arithmetic,
    weighted_BK: Floats,
    divisor_B: Floats,
    blocks: list[npt.NDArray[np.int64]],
    where: str,
    ddof: int,
    eps: float,
) -> str:
    """What the divisor is, where it is a standard deviation of the sums; nothing where it is 1."""
    finite_B = divisor_B[np.isfinite(divisor_B)]
    if np.allclose(finite_B, 1.0, rtol=CLOSE, atol=0):
        return ""
    there_BK = ~np.isnan(plain.statistics.seen_BK) & (plain.weights_BK != 0).any(0)
    same = True
    for rows in blocks:
        sums, counted = weighted_BK[rows].sum(1), int(there_BK[rows].any(1).sum())
        std = math.sqrt(float((sums**2).sum()) / max(counted - ddof, 1))
        divisor = divisor_B[rows[0]]
        # Sums that cancel are 0 to the estimator and rounding here.
        if math.isfinite(divisor) and not any(
            math.isclose(divisor, other, rel_tol=CLOSE) for other in (std + eps, math.hypot(std, math.sqrt(eps)))
        ):
            same = False
    whose = "all completions of the step" if where == "step" else "the group"
    if same:
        return f"the standard deviation of the weighted sums of {whose}" + (f", with eps {eps:g}" if eps else "")
    return f"the same for {whose}"


def _options(view: View) -> tuple[Mapping[str, Any], Knobs]:
    """The estimator's section of the config, and its numbers."""
    section = view.config.get("estimator")
    options: Mapping[str, Any] = section if isinstance(section, dict) else {}
    presets = GDPO_PRESETS if str(options.get("name", "")).endswith("gdpo") else GRPO_PRESETS
    preset = options.get("preset")
    if isinstance(preset, str) and preset in presets:
        return options, presets[preset]
    return options, Knobs(
        eps=_number(options.get("eps"), DEFAULT_EPS), group_eps=_number(options.get("group_eps"), 0.0)
    )


def _number(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else default


def _matrix(rows: list[list[float | None]]) -> Floats:
    return np.array([[math.nan if value is None else value for value in row] for row in rows], dtype=np.float64)


def rows_of_groups(groups_B: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """The rows of each group."""
    order = np.argsort(groups_B, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(groups_B[order])) + 1)
