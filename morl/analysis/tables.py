"""The tables of a report, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from morl.analysis.collapse import diagnostics
from morl.analysis.results import Comparison, Line, Results, Score
from morl.analysis.statistics import Spread

MEASURES = {"final": "Final value", "auc": "Area under the curve"}
_SOURCES = {"held-out": "on the held-out prompts", "training": "of the training batches"}
_ABSENT = "–"


@frozen
class Table:
    """A table; the first cell of a row is its heading."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def number(value: float | None) -> str:
    """Three significant digits, two of small numbers.

    >>> number(0.12345), number(1234.5), number(-2.0), number(0.001234), number(None)
    ('0.123', '1234', '-2', '0.0012', '–')
    """
    if value is None:
        return _ABSENT
    if 1000 <= abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 0.01 else f"{value:.2g}"


def median_and_quartiles(spread: Spread) -> str:
    """`median [q1, q3]`; the value itself where there is but one."""
    if spread.n == 1:
        return number(spread.median)
    return f"{number(spread.median)} [{number(spread.q1)}, {number(spread.q3)}]"


def measured(results: Results, measure: str) -> str:
    """What a measure is, and on what."""
    return f"{MEASURES[measure]} {_SOURCES[results.sources[measure]]}"


def runs_table(results: Results) -> Table:
    """Which seeds of each line finished, and after how many steps."""
    failed = {(failure.line, failure.seed) for failure in results.failures}
    names = list(dict.fromkeys([*(line.name for line in results.lines), *(line for line, _ in failed)]))
    steps = {(line.name, seed): count for line in results.lines for seed, count in line.steps.items()}
    seeds = sorted({seed for _, seed in (*steps, *failed)})

    def cell(line: str, seed: int) -> str:
        if (line, seed) in failed:
            return "failed"
        return f"{steps[line, seed]} steps" if (line, seed) in steps else _ABSENT

    rows = [[name, *(cell(name, seed) for seed in seeds)] for name in names]
    return Table("Finished and failed runs by seed", ["configuration", *(f"seed {seed}" for seed in seeds)], rows)


def scores_table(results: Results, measure: str) -> Table:
    """Lines by rewards."""
    return Table(
        f"{measured(results, measure)}: median [quartiles] over seeds",
        ["configuration", "runs", *results.rewards],
        [[line.name, str(len(line.steps)), *_scores(line, measure, results.rewards)] for line in results.lines],
    )


def diagnostics_table(results: Results) -> Table:
    """Diagnostics by lines, for there are more of the former."""
    logged = {metric for line in results.lines for metric in line.diagnostics}
    kinds = [kind for kind in diagnostics(results.rewards) if kind.metric in logged]
    return Table(
        "Collapse diagnostics: mean over all steps, or the largest value of any step; median [quartiles] over seeds",
        ["diagnostic", *(line.name for line in results.lines)],
        [[kind.label, *(_score(line.diagnostics.get(kind.metric)) for line in results.lines)] for kind in kinds],
    )


def differences_table(results: Results, measure: str) -> Table:
    """Every comparison of a measure."""
    return Table(
        f"{measured(results, measure)}: paired differences",
        ["reward", "difference", "pairs", "mean", "95% interval", "p", "p (Holm)", "detectable", "what it says"],
        [_difference(found) for found in results.comparisons if found.measure == measure],
    )


def size(found: Comparison) -> str:
    """Mean difference and interval."""
    return f"{number(found.difference.mean)} {_interval(found)}"


def kind(found: Comparison) -> str:
    """`seen`, `none` or `open`: a difference, none within the margin that was named, no verdict."""
    if found.seen:
        return "seen"
    return "none" if found.verdict.startswith("no difference larger") else "open"


def could(found: Comparison) -> str:
    """The difference that would have been seen, where none was."""
    if found.seen or found.detectable is None:
        return ""
    return f" ({number(found.detectable)} would have been seen four times of five)"


def family(results: Results) -> int:
    """Comparisons that share the correction for their number."""
    return sum(found.p_adjusted is not None or found.declared for found in results.comparisons)


def settings_table(results: Results) -> Table:
    """Settings in which the lines differ."""
    names = [line.name for line in results.lines]
    rows = [
        [setting, *(plain(values[name]) if name in values else _ABSENT for name in names)]
        for setting, values in results.different.items()
    ]
    return Table("Settings in which the lines differ", ["setting", *names], rows)


def common_table(results: Results) -> Table:
    """Settings that all lines share."""
    rows = [[name, plain(value)] for name, value in results.common.items()]
    return Table("Common settings, resolved", ["setting", "value"], rows)


def versions_table(results: Results) -> Table:
    """Versions of everything that took part."""
    rows = [[name, ", ".join(found)] for name, found in results.versions.items()]
    return Table("Versions", ["name", "version"], rows)


def plain(value: Any) -> str:
    """A setting as YAML would show it."""
    match value:
        case None | True | False:
            return str(value).lower().replace("none", "null")
        case list() | tuple():
            return f"[{', '.join(map(plain, value))}]"
        case Mapping():
            return "{" + ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) + "}"
    return str(value)


def _score(score: Score | None) -> str:
    return median_and_quartiles(score.spread) if score is not None else _ABSENT


def _scores(line: Line, measure: str, names: Sequence[str]) -> list[str]:
    """With the share of completions that have a score, where that is not all."""
    shares = line.coverage.get(measure, {})
    covered = {name: f" ({shares[name]:.0%} scored)" for name in shares}
    return [_score(line.scores[measure].get(name)) + covered.get(name, "") for name in names]


def _interval(found: Comparison) -> str:
    difference = found.difference
    return _ABSENT if difference.low is None else f"[{number(difference.low)}, {number(difference.high)}]"


def _difference(found: Comparison) -> list[str]:
    difference = found.difference
    return [
        found.reward,
        f"{found.second} − {found.first}",
        str(difference.n),
        number(difference.mean),
        _interval(found),
        number(difference.p),
        number(found.p_adjusted),
        number(found.detectable),
        found.verdict,
    ]
