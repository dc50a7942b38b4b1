"""The figures of an evaluation, written down a second time: lists of completions, and scipy for the intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb, nan
from statistics import fmean

from scipy import stats

Score = float | None
Interval = tuple[float | None, float | None]


@dataclass(frozen=True)
class Sample:
    """A completion of a held-out prompt.

    Attributes:
        prompt: its place among the held-out prompts.
        source: of the mixture that the prompt is from.
        ids: of the completion.
        truncated: the limit of tokens ended it.
        scores: of every reward that it has one of.
        asked: rewards that apply to it.
        failed: rewards that failed on it.
    """

    prompt: int
    source: str
    ids: Sequence[int]
    truncated: bool
    scores: Mapping[str, float]
    asked: frozenset[str]
    failed: frozenset[str]


def in_training(samples: Sequence[Sample], names: Sequence[str]) -> dict[str, float]:
    """What `evaluation.json` has for one step: every completion counts once."""
    found = {name: _mean(each.scores[name] for each in samples if name in each.scores) for name in names}
    for name in names:
        asked = [each for each in samples if name in each.asked]
        found[f"{name}/scored"] = sum(name in each.scores for each in asked) / len(asked)
    found["completions/length_mean"] = _mean(len(each.ids) for each in samples)
    found["completions/truncated"] = _mean(each.truncated for each in samples)
    for source in {each.source for each in samples}:
        own = [each for each in samples if each.source == source]
        found[f"source_share/{source}"] = len(own) / len(samples)
        for name in names:
            given = [each.scores[name] for each in own if name in each.scores]
            found[f"source/{source}/{name}"] = _mean(given) if given else nan
    return found


def over_prompts(samples: Sequence[Sample], value: Callable[[Sample], Score]) -> tuple[float, Interval]:
    """Mean over the prompts of the mean of each, and its interval by Student's t, for fewer than ten prompts."""
    by_prompt: dict[int, list[float]] = {}
    for each in samples:
        if (number := value(each)) is not None:
            by_prompt.setdefault(each.prompt, []).append(float(number))
    share = {number for numbers in by_prompt.values() for number in numbers} <= {0.0, 1.0}
    return _with_interval([fmean(numbers) for numbers in by_prompt.values()], share)


def passes(samples: Sequence[Sample], k: int, passed: Callable[[Sample], bool | None]) -> tuple[float, Interval]:
    """Chance that one of k completions passes: the share of the choices of k of a prompt's completions in which one
    does, where it has k that are scored."""
    chances = []
    for prompt in {each.prompt for each in samples}:
        known = [passed(each) for each in samples if each.prompt == prompt and passed(each) is not None]
        if len(known) >= k:
            chances.append(1 - comb(known.count(False), k) / comb(len(known), k))
    return _with_interval(chances, True)


def _with_interval(values: Sequence[float], share: bool) -> tuple[float, Interval]:
    assert 1 <= len(values) < 10
    mean = fmean(values)
    if len(values) == 1:
        return mean, (None, None)
    if len({*values}) > 1:
        interval = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        low, high = float(interval.low), float(interval.high)
        return mean, (max(low, 0.0), min(high, 1.0)) if share else (low, high)
    if not share or mean not in (0.0, 1.0):
        return mean, (None, None)
    exact = stats.binomtest(int(mean) * len(values), len(values)).proportion_ci(0.95)
    return mean, (float(exact.low), float(exact.high))


def _mean(values: Iterable[float]) -> float:
    return fmean(map(float, values))
