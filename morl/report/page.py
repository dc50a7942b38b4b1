"""The page of a single run: verdicts, transcripts, curves; one file, without scripts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from morl.analysis.report import require_matplotlib
from morl.analysis.tables import Table
from morl.artifacts.evaluations import read_evaluations
from morl.artifacts.folder import RunFolder
from morl.errors import MorlError
from morl.report.arithmetic import Arithmetic
from morl.report.explain import number, outcome, parts
from morl.report.groups import GroupCounts, count_groups
from morl.report.samples import Sample, StepSamples, read_samples, sample_files
from morl.report.text import visible, with_code
from morl.report.transcripts import FATES, Transcript
from morl.report.verdicts import verdicts
from morl.report.view import View

ENDS = 5
"""Completions shown from each end of an order."""
MOST_CHIPS = 20_000
"""Scores beside the transcripts of all orders; with so many rewards that there would be more, some give no order."""
FEWEST_ORDERS = 4


@frozen
class Selection:
    """Completions that one filter shows.

    Attributes:
        label: of the filter.
        groups: a heading, and the completions below it.
    """

    label: str
    groups: list[tuple[str, list[Transcript]]]


def render(view: View) -> str:
    """The page as HTML; every text of the run is escaped.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    require_matplotlib()
    from morl.analysis.html import environment, picture
    from morl.analysis.svg import house_style
    from morl.report.curves import run_plots

    with house_style():
        pictures = [picture(plot, visible) for plot in run_plots(view)]
    step = view.samples() if view.sample_steps else None
    templates = environment("morl.report")
    templates.filters |= {"visible": visible, "number": number, "outcome": outcome, "with_code": with_code}
    page = templates.get_template("page.html.jinja").render(
        view=view,
        name=view.folder.resolve().name,
        verdicts=verdicts(view),
        pictures=pictures,
        result_table=result_table(view),
        fates=FATES,
        unordered=len(view.rewards) - len(ordering(view)),
        step=step,
        selections=selections(view, step) if step is not None else [],
        held_out=(held_out := _held_out(view)),
        held_out_selections=selections(view, held_out) if held_out is not None else [],
        group_table=group_table(view, step) if step is not None else None,
        statuses=statuses(step.samples) if step is not None else {},
    )
    return page.encode("utf-8", "replace").decode("utf-8")


def _held_out(view: View) -> StepSamples | None:
    """Completions of the last evaluation, where the folder has some."""
    files = sample_files(RunFolder(view.folder).samples, "evaluation")
    if not files:
        return None
    last = max(files)
    found = read_samples(files[last], last)
    return found if found.samples else None


def selections(view: View, step: StepSamples) -> list[Selection]:
    """By the advantage, then by each reward of `ordering`: the highest, the lowest, and those without a score."""

    arithmetic = Arithmetic.of(view, step)

    def shown(samples: Sequence[Sample]) -> list[Transcript]:
        return [Transcript(sample, parts(arithmetic, sample)) for sample in samples]

    found = []
    learned = sorted((s for s in step.samples if s.advantage is not None), key=lambda s: -(s.advantage or 0.0))
    if learned:
        found.append(Selection("advantage", _ends("advantage", learned, shown)))
    for reward in ordering(view):
        scored = [(score, s) for s in step.samples if (score := s.rewards.get(reward)) is not None]
        scored.sort(key=lambda pair: -pair[0])
        groups = _ends(f"score of {reward}", [sample for _, sample in scored], shown)
        without = [s for s in step.samples if reward in s.rewards and s.rewards[reward] is None]
        if without:
            groups.append((f"without a score of {reward} ({len(without)})", shown(without[:ENDS])))
        found.append(Selection(reward, groups))
    return found


def ordering(view: View) -> tuple[str, ...]:
    """Rewards that transcripts are ordered by: all, unless there are so many that the page could not be opened."""
    room = MOST_CHIPS // (3 * ENDS * max(1, len(view.rewards)))
    return view.rewards[: max(FEWEST_ORDERS, room)]


def _ends(what: str, ordered: Sequence[Sample], shown: Any) -> list[tuple[str, list[Transcript]]]:
    if len(ordered) <= 2 * ENDS:
        return [(f"all by {what}, the highest first", shown(ordered))] if ordered else []
    return [(f"highest {what}", shown(ordered[:ENDS])), (f"lowest {what}", shown(ordered[-ENDS:][::-1]))]


def group_table(view: View, step: StepSamples) -> Table:
    """How many groups each reward finds mixed, all at its worst, all at its best."""
    header = ["reward", "mixed", "all lowest", "all highest", "all alike", "no score"]
    counts = {reward: groups_of(view, step, reward) for reward in view.rewards}
    rows = [
        [visible(reward), *map(str, (one.mixed, one.all_low, one.all_high, one.alike, one.unscored))]
        for reward, one in counts.items()
    ]
    return Table("Groups by what each reward says of them; only mixed ones teach it anything", header, rows)


def groups_of(view: View, step: StepSamples, reward: str) -> GroupCounts:
    """The groups of a step, between the bounds of the reward where it has some."""
    return count_groups(step.samples, reward, *(view.bounds(step, reward) or (None, None)))


def result_table(view: View) -> Table | None:
    """Means on the held-out prompts, of the first evaluation and the last; None where there are none."""
    path = RunFolder(view.folder).evaluation
    try:
        found = read_evaluations(path) if path.is_file() else []
    except MorlError:  # a file that was half-written
        return None
    names = [name for name in view.rewards if any(_finite(row["metrics"].get(name)) for row in found)]
    if not names:
        return None
    shown = found if len(found) == 1 else [found[0], found[-1]]
    header = ["reward", *(f"after step {row['step']}" if row["step"] else "before" for row in shown)]
    rows = [[visible(name), *(_with_interval(row, name) for row in shown)] for name in names]
    return Table("Means on the held-out prompts, with 95% intervals", header, rows)


def _with_interval(row: Mapping[str, Any], name: str) -> str:
    mean, interval = row["metrics"].get(name), row.get("intervals", {}).get(name) or [None]
    ends = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if all(map(_finite, interval)) else ""
    return f"{mean:.3f}{ends}" if _finite(mean) else "-"


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def statuses(samples: Sequence[Sample]) -> dict[str, float]:
    """Share of the completions by how they ended, the most frequent first."""
    ends = [sample.status or "not said" for sample in samples]
    return {end: ends.count(end) / len(ends) for end in sorted(set(ends), key=lambda end: (-ends.count(end), end))}
