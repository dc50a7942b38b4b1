"""Lines against each other: paired differences, and what may be said of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import evolve

from morl.analysis.coverage import OTHER_COMPLETIONS, Steps, comparable
from morl.analysis.differences import (
    ALPHA,
    FEWEST_PAIRS,
    detectable,
    differences,
    fewest_pairs,
    holm,
    paired_difference,
)
from morl.analysis.plan import Contrast, Plan
from morl.analysis.results import Comparison, Line
from morl.analysis.runs import Run
from morl.analysis.statistics import mean_interval

Parts = Callable[[str], Steps]
"""Measure -> the steps that it looks at."""
LeftOut = Callable[[str, str, str, str], set[int]]
"""Measure, reward and two lines -> seeds whose values are no pair."""


def compare_lines(
    lines: Sequence[Line], rewards: Sequence[str], measures: Sequence[str], plan: Plan, left_out: LeftOut
) -> tuple[Comparison, ...]:
    """Every comparison of a study, with its verdict.

    Verdicts are given within one family: the contrasts that were declared in time, or, where none was, all comparisons.
    """
    by_name = {line.name: line for line in lines}
    pairs: list[tuple[Comparison, list[float], str]] = []
    for measure, (first, second, reward, declared) in _pairs(lines, rewards, measures, plan):
        values = [by_name[name].scores[measure].get(reward) for name in (first, second)]
        if values[0] is None or values[1] is None:
            continue
        others = left_out(measure, reward, first, second)
        some = [{seed: v for seed, v in score.by_seed.items() if seed not in others} for score in values if score]
        found = paired_difference(*some)
        note = ""
        if others:
            listed = ", ".join(map(str, sorted(others)))
            note = f"; seeds {listed} {OTHER_COMPLETIONS}" if found.n else OTHER_COMPLETIONS
        left_out_seeds = tuple(sorted(others))
        comparison = Comparison(measure, reward, first, second, found, declared, None, None, "", left_out_seeds)
        pairs.append((comparison, differences(*some), note))
    return tuple(_judged(pairs, plan))


def _judged(pairs: Sequence[tuple[Comparison, list[float], str]], plan: Plan) -> Iterator[Comparison]:
    family = [place for place, (found, _, _) in enumerate(pairs) if found.declared or not plan.contrasts]
    # What was declared and has no runs yet counts as well.
    size = max(len(family), sum(str(contrast) not in plan.late for contrast in plan.contrasts))
    p_values = [*(pairs[place][0].difference.p for place in family), *[None] * (size - len(family))]
    adjusted = dict(zip(family, holm(p_values), strict=False))
    for place, (found, sample, note) in enumerate(pairs):
        if place in adjusted:
            found = evolve(found, p_adjusted=adjusted[place], detectable=detectable(sample, size))
        said = verdict(found, size if place in adjusted else 0, sample, plan)
        yield evolve(found, verdict=said + note if found.difference.n else note or said)


def verdict(found: Comparison, family: int, sample: Sequence[float], plan: Plan) -> str:
    """What a paired difference allows to say.

    Args:
        found: the comparison, with its adjusted p.
        family: comparisons in its family; 0 where it is in none.
        sample: the differences.
        plan: of the study.
    """
    difference = found.difference
    if difference.mean is None:
        return "no seed in common"
    if difference.p is None:
        return "one pair, no interval"
    contrast = str(Contrast(found.first, found.second, found.reward))
    if found.measure == "final" and contrast in plan.late:
        return f"no verdict: declared when {plan.late[contrast]} runs had finished"
    if not family:
        return "no verdict: not declared"
    if difference.n < FEWEST_PAIRS:
        return f"no verdict: {difference.n} pairs are too few"
    if found.seen:
        return f"{found.second if difference.mean > 0 else found.first} higher"
    if plan.equivalence is not None and within(sample, plan.equivalence, family):
        return f"no difference larger than {plan.equivalence:g}"
    if difference.n < fewest_pairs(family):
        counted = "one comparison needs" if family == 1 else f"{family} comparisons need"
        return f"no verdict: {difference.n} pairs, {counted} {fewest_pairs(family)}"
    return "no difference seen"


def within(sample: Sequence[float], margin: float, family: int) -> bool:
    """Whether the mean is within the margin by two one-sided tests at alpha / family each.

    That is, whether the interval of level 1 - 2 alpha / family lies within (Schuirmann, Journal of Pharmacokinetics and
    Biopharmaceutics 15, 1987; Bonferroni's correction).
    """
    low, high = mean_interval(sample, 1 - 2 * ALPHA / family)
    return -margin < low and high < margin


def other_completions(runs: Mapping[str, Sequence[Run]], sources: Mapping[str, str], part: Parts) -> LeftOut:
    """Seeds whose runs scored a reward on different completions."""

    def left_out(measure: str, reward: str, first: str, second: str) -> set[int]:
        return {
            one.seed
            for one, two in itertools.product(runs[first], runs[second])
            if one.seed == two.seed and not comparable(one, two, reward, sources[measure], part(measure))
        }

    return left_out


def _pairs(
    lines: Sequence[Line], rewards: Sequence[str], measures: Sequence[str], plan: Plan
) -> Iterator[tuple[str, tuple[str, str, str, bool]]]:
    """Measure, and first line, second line, reward and whether that was declared: the declared ones first."""
    names = {line.name for line in lines}
    declared = [c for c in plan.contrasts if {c.first, c.second} <= names and c.metric in rewards]
    for contrast in declared:
        timely = str(contrast) not in plan.late
        yield "final", (contrast.first, contrast.second, contrast.metric, timely)
    seen = {(frozenset((c.first, c.second)), c.metric) for c in declared}
    for measure in measures:
        for reward in rewards:
            for first, second in itertools.combinations(lines, 2):
                repeated = measure == "final" and (frozenset((first.name, second.name)), reward) in seen
                if _are_neighbours(first, second) and not repeated:
                    yield measure, (first.name, second.name, reward, False)


def _are_neighbours(first: Line, second: Line) -> bool:
    """Lines that differ by their arm or by their settings; where both differ, nothing would follow."""
    return first.arm == second.arm or dict(first.settings) == dict(second.settings)
