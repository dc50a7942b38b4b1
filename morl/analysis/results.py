"""The numbers of a study: all that its tables and figures show, small enough to be committed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

from morl.analysis.compact import compact_json
from morl.analysis.differences import ALPHA, FEWEST_PAIRS, Difference
from morl.analysis.statistics import Spread
from morl.errors import DataError

FORMAT = 2
"""Raised when a field changes its meaning, so that an older file is refused rather than misread."""

_EXACT = ("scores", "comparisons")
_ESTIMATOR = "estimator.name"

Source = str
"""`"held-out"` or `"training"`: which completions a number was measured on."""


@frozen
class Band:
    """Median and quartiles over the runs of a line at some steps.

    Args:
        n: runs with a value there.
    """

    steps: tuple[float, ...]
    median: tuple[float, ...]
    q1: tuple[float, ...]
    q3: tuple[float, ...]
    n: tuple[int, ...]

    @classmethod
    def of(cls, spreads: Mapping[float, Spread]) -> Band:
        """From the spread at each step; four digits of it, for no eye sees more."""
        rounded = [[float(f"{x:.4g}") for x in (s.median, s.q1, s.q3)] for s in spreads.values()]
        median, q1, q3 = zip(*rounded, strict=True) if rounded else ((), (), ())
        return cls(tuple(spreads), median, q1, q3, tuple(s.n for s in spreads.values()))

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Band:
        return cls(**{name: tuple(values) for name, values in tree.items()})


@frozen
class Score:
    """One number per run of a line, and their spread."""

    by_seed: Mapping[int, float]
    spread: Spread

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Score:
        return cls({int(seed): value for seed, value in tree["by_seed"].items()}, Spread(**tree["spread"]))


@frozen
class Line:
    """The finished runs that differ by their seed alone.

    Args:
        curves: source -> reward -> curve.
        scores: measure (`final`, `auc`) -> reward -> score.
        collapse: metric -> curve.
        diagnostics: metric -> score.
        steps: finished steps by seed.
        coverage: measure -> reward -> mean share of the completions that have a score, where that is not all.
    """

    name: str
    arm: str
    settings: Mapping[str, Any]
    steps: Mapping[int, int]
    curves: Mapping[Source, Mapping[str, Band]]
    scores: Mapping[str, Mapping[str, Score]]
    collapse: Mapping[str, Band]
    diagnostics: Mapping[str, Score]
    coverage: Mapping[str, Mapping[str, float]] = field(factory=dict)

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Line:
        return cls(
            name=tree["name"],
            arm=tree["arm"],
            settings=tree["settings"],
            steps={int(seed): steps for seed, steps in tree["steps"].items()},
            curves={source: _each(Band, bands) for source, bands in tree["curves"].items()},
            scores={measure: _each(Score, scores) for measure, scores in tree["scores"].items()},
            collapse=_each(Band, tree["collapse"]),
            diagnostics=_each(Score, tree["diagnostics"]),
            coverage=tree.get("coverage", {}),
        )


@frozen
class Comparison:
    """Two lines, one reward, one measure: `second` minus `first`, and what that allows to say.

    Args:
        declared: whether it is one of the contrasts that were declared before the runs.
        left_out: seeds that both lines have and that are no pair, for their runs were scored on different completions.
        p_adjusted: p by Holm's method over the family of comparisons; None outside of the family.
        detectable: the smallest difference that would have had a verdict with a chance of 80%; None where none would.
        verdict: in words.
    """

    measure: str
    reward: str
    first: str
    second: str
    difference: Difference
    declared: bool
    p_adjusted: float | None
    detectable: float | None
    verdict: str
    left_out: tuple[int, ...] = ()

    @property
    def seen(self) -> bool:
        """Whether one line is higher than the other, as a verdict."""
        return self.p_adjusted is not None and self.p_adjusted <= ALPHA and self.difference.n >= FEWEST_PAIRS

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Comparison:
        given = {"difference": Difference(**tree["difference"]), "left_out": tuple(tree.get("left_out", ()))}
        return cls(**{**tree, **given})


@frozen
class Failure:
    """A run that failed."""

    line: str
    seed: int
    error: str
    log: str | None


@frozen
class Results:
    """A study.

    Args:
        command: what makes it again.
        rewards: in the order of the config, after the primary metric where there is one.
        primary: reward -> the ends of its range, of the primary metric; empty where there is none.
        equivalence: differences within this margin count as none; None where no margin was named.
        sources: measure -> source of its numbers.
        smoothing: training curves are means over so many steps.
        lines: in the order in which they were given.
        best: lines whose median finals no other line reaches in all rewards and exceeds in one.
        warnings: what limits the comparison.
        common, different, of_run: as `morl.analysis.configs.Configs`.
        versions: name -> the versions that occur.
    """

    title: str
    command: str
    rewards: tuple[str, ...]
    primary: Mapping[str, Sequence[float]]
    equivalence: float | None
    sources: Mapping[str, Source]
    smoothing: Mapping[str, int]
    lines: tuple[Line, ...]
    failures: tuple[Failure, ...]
    comparisons: tuple[Comparison, ...]
    best: tuple[str, ...]
    warnings: tuple[str, ...]
    common: Mapping[str, Any]
    different: Mapping[str, Mapping[str, Any]]
    of_run: tuple[str, ...]
    versions: Mapping[str, Sequence[str]]

    def estimator_of(self, line: Line) -> str:
        """Name of a line's estimator; the name of its arm where the config does not say."""
        of_line = self.different.get(_ESTIMATOR, {}).get(line.name)
        return str(of_line or self.common.get(_ESTIMATOR) or line.arm)

    def to_json(self) -> str:
        """Six significant digits; scores and comparisons have all of theirs, so that others get the same p-values."""
        return compact_json(_plain({"format": FORMAT, **attrs.asdict(self)}))

    @classmethod
    def load(cls, path: Path) -> Results:
        """Reads `results.json`.

        Raises:
            DataError: the file is not one, or of another version of morl.
        """
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
            found = tree.pop("format")
            if found != FORMAT:
                raise DataError(f"{path} has format {found}, this morl reads {FORMAT}; make the report again")
            lists = ("rewards", "best", "warnings", "of_run")
            return cls(
                **{
                    **tree,
                    **{name: tuple(tree[name]) for name in lists},
                    "lines": tuple(map(Line.from_json, tree["lines"])),
                    "failures": tuple(Failure(**failure) for failure in tree["failures"]),
                    "comparisons": tuple(map(Comparison.from_json, tree["comparisons"])),
                }
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path} is not the results.json of a report: {error!r}") from error


def _each(kind: Any, trees: Mapping[str, Any]) -> dict[str, Any]:
    return {name: kind.from_json(tree) for name, tree in trees.items()}


def _plain(value: Any, exact: bool = False) -> Any:
    """What JSON can hold: an infinite setting becomes its name."""
    match value:
        case float() if abs(value) == float("inf"):
            return str(value)
        case float():
            return value if exact else float(f"{value:.6g}")
        case Mapping():
            return {str(key): _plain(item, exact or key in _EXACT) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item, exact) for item in value]
        case bool() | int() | str() | None:
            return value
    return str(value)
