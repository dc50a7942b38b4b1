"""From runs to the numbers of a study."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from morl.analysis.collapse import diagnostics, of_run
from morl.analysis.comparisons import compare_lines, other_completions
from morl.analysis.configs import compare_configs, unpaired_settings
from morl.analysis.coverage import Steps, coverage
from morl.analysis.plan import PRIMARY, Plan
from morl.analysis.primary import with_primary
from morl.analysis.results import Band, Failure, Line, Results, Score
from morl.analysis.runs import Curve, FailedRun, Run
from morl.analysis.statistics import area_under_curve, non_dominated, spread
from morl.analysis.tasks import by_task
from morl.artifacts.history import Change
from morl.artifacts.metrics import REWARD_MEAN
from morl.errors import ConfigError

POINTS = 50
"""Most points of a curve of rewards; half as many in a study of many lines, whose results are to stay small."""
COLLAPSE_POINTS = 20
"""The same for diagnostics, of which there are more than rewards."""
MANY_LINES = 5
FINAL_SHARE = 0.1
"""Last part of the training whose mean stands for its end where there is no held-out evaluation."""
MEASURES = ("final", "auc")
_FEWEST_FOR_AREA = 3
"""Evaluations on held-out prompts; the area between two points says nothing about the way from one to the other."""


def summarise(
    runs: Sequence[Run], failed: Sequence[FailedRun], title: str, command: str, plan: Plan | None = None
) -> Results:
    """The numbers of a study.

    Args:
        runs: that are finished.
        failed: that are not.
        title, command: of the study.
        plan: what was said beforehand; nothing if None.

    Raises:
        ConfigError: no run at all, two runs of one line and seed, or runs of a line whose settings differ.
    """
    plan = plan or Plan()
    _check_cells(runs, failed)
    runs = [with_primary(run, plan.primary) for run in runs]
    by_line: dict[str, list[Run]] = {}
    for run in runs:
        by_line.setdefault(run.line, []).append(run)
    configs = compare_configs(by_line)
    rewards = tuple(dict.fromkeys(name for run in runs for name in run.rewards))
    sources = {measure: _source(measure, runs) for measure in MEASURES}
    unseen = _never_held_out(runs) if sources["final"] == "held-out" else set()
    smoothing = _smoothing(by_line)
    part = partial(_part_of, sources)
    lines = tuple(_line(members, rewards, sources, smoothing) for members in by_line.values())
    return Results(
        title=title,
        command=command,
        rewards=rewards,
        primary=plan.primary,
        equivalence=plan.equivalence,
        sources=sources,
        smoothing=smoothing,
        lines=lines,
        failures=tuple(Failure(f.line, f.seed, f.error, str(f.log) if f.log else None) for f in failed),
        comparisons=compare_lines(lines, rewards, MEASURES, plan, other_completions(by_line, sources, part)),
        best=_best(lines, [name for name in rewards if name not in unseen | {PRIMARY}], configs.different),
        warnings=tuple(_warnings(by_line, rewards, sources)) + _late(plan),
        common=configs.common,
        different=configs.different,
        of_run=configs.of_run,
        versions=_versions(runs),
    )


def final_value(run: Run, reward: str, source: str) -> float | None:
    """The last held-out evaluation, or the mean over the last tenth of the training's steps; None where not logged."""
    last = _part("final", source)(run, reward_curve(run, reward, source)).values
    return float(last.mean()) if len(last) else None


def _part_of(sources: Mapping[str, str], measure: str) -> Steps:
    return _part(measure, sources[measure])


def _part(measure: str, source: str) -> Steps:
    """The steps that a measure looks at."""

    def part(run: Run, curve: Curve) -> Curve:
        if measure == "auc":
            return curve
        last = curve.steps > run.steps * (1 - FINAL_SHARE) if source == "training" else slice(-1, None)
        return Curve(curve.steps[last], curve.values[last])

    return part


def reward_curve(run: Run, reward: str, source: str) -> Curve:
    """The curve of a reward, empty where there is none."""
    curve = run.held_out.get(reward) if source == "held-out" else run.metrics.get(REWARD_MEAN.of(reward))
    return curve if curve is not None else Curve.of({})


def band(curves: Sequence[Curve], width: int) -> Band:
    """Median and quartiles over runs.

    Args:
        curves: one per run.
        width: means over so many steps are taken of each run before anything else; 0 takes the points as they are, or
            50 of them, the first and the last among them.
    """
    binned = [_bins(curve, width) for curve in curves]
    steps = sorted(set().union(*binned))
    if width == 0 and len(steps) > POINTS:
        steps = [steps[k] for k in np.linspace(0, len(steps) - 1, POINTS).round().astype(int)]
    return Band.of({step: spread(values[step] for values in binned if step in values) for step in steps})


def _bins(curve: Curve, width: int) -> dict[float, float]:
    """Centre of a bin of steps -> mean of the values in it.

    Steps begin at 1, so that the bins of all runs are the same.
    """
    if width == 0:
        return dict(zip(curve.steps.tolist(), curve.values.tolist(), strict=True))
    which = (curve.steps - 1) // width
    return {float(b * width + (width + 1) / 2): float(curve.values[which == b].mean()) for b in np.unique(which)}


def _line(
    runs: Sequence[Run], rewards: Sequence[str], sources: Mapping[str, str], smoothing: Mapping[str, int]
) -> Line:
    label = runs[0].label
    kinds = diagnostics(rewards)
    training = {name: [reward_curve(run, name, "training") for run in runs] for name in rewards}
    held_out = {name: [reward_curve(run, name, "held-out") for run in runs] for name in rewards}
    logged = {kind.metric: [run.metrics[kind.metric] for run in runs if kind.metric in run.metrics] for kind in kinds}
    return Line(
        name=label.line,
        arm=label.arm or label.line,
        settings=label.settings,
        steps={run.seed: run.steps for run in runs},
        curves={
            "held-out": _bands(held_out, 0),
            "training": _bands(training, smoothing["rewards"]),
        },
        scores={
            "final": _scores({n: {r.seed: final_value(r, n, sources["final"]) for r in runs} for n in rewards}),
            "auc": _scores({n: {r.seed: _area(r, n, sources["auc"]) for r in runs} for n in rewards}),
        },
        collapse=_bands(logged, smoothing["collapse"]),
        diagnostics=_scores({kind.metric: {run.seed: of_run(kind, run) for run in runs} for kind in kinds}),
        coverage={measure: _coverage(runs, rewards, measure, sources[measure]) for measure in MEASURES},
    )


def _coverage(runs: Sequence[Run], rewards: Sequence[str], measure: str, source: str) -> dict[str, float]:
    shares = {name: coverage(runs, name, source, _part(measure, source)) for name in rewards}
    return {name: share for name, share in shares.items() if share < 1}


def _bands(curves: Mapping[str, Sequence[Curve]], width: int) -> dict[str, Band]:
    return {name: band(some, width) for name, some in curves.items() if any(map(len, some))}


def _smoothing(lines: Mapping[str, Sequence[Run]]) -> dict[str, int]:
    """Steps per point of a training curve."""
    total = max((run.steps for runs in lines.values() for run in runs), default=0)
    divisor = 2 if len(lines) >= MANY_LINES else 1
    return {"rewards": -(-total * divisor // POINTS), "collapse": -(-total * divisor // COLLAPSE_POINTS)}


def _scores(values: Mapping[str, Mapping[int, float | None]]) -> dict[str, Score]:
    present = {
        name: {seed: value for seed, value in by_seed.items() if value is not None} for name, by_seed in values.items()
    }
    return {name: Score(by_seed, spread(by_seed.values())) for name, by_seed in present.items() if by_seed}


def _area(run: Run, reward: str, source: str) -> float | None:
    curve = reward_curve(run, reward, source)
    return area_under_curve(curve.steps, curve.values) if len(curve) else None


def _source(measure: str, runs: Sequence[Run]) -> str:
    """Held-out prompts where every reward of every run was evaluated often enough, training batches otherwise.

    A reward that no run could score there, such as the divergence from a reference, does not count.
    """
    enough = _FEWEST_FOR_AREA if measure == "auc" else 1
    never = _never_held_out(runs)
    counts = [len(reward_curve(run, name, "held-out")) for run in runs for name in run.rewards if name not in never]
    return "held-out" if counts and min(counts) >= enough else "training"


def _never_held_out(runs: Sequence[Run]) -> set[str]:
    """Rewards that no run has a held-out score of."""
    names = {name for run in runs for name in run.rewards}
    return {name for name in names if not any(len(reward_curve(run, name, "held-out")) for run in runs)}


def _best(lines: Sequence[Line], rewards: Sequence[str], different: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """The lines, among those that have every reward, that no other line of the same task dominates."""
    finals = {line.name: line.scores["final"] for line in lines}
    medians = {
        name: [final[reward].spread.median for reward in rewards]
        for name, final in finals.items()
        if all(reward in final for reward in rewards)
    }
    tasks = by_task(medians, str, different).values()
    found = {best for names in tasks for best in non_dominated({name: medians[name] for name in names})}
    return tuple(name for name in medians if name in found)


def _warnings(lines: Mapping[str, Sequence[Run]], rewards: Sequence[str], sources: Mapping[str, str]) -> Iterator[str]:
    runs = [run for members in lines.values() for run in members]
    if len({run.steps for run in runs}) > 1:
        steps = "; ".join(f"{name} {' and '.join(_unique(run.steps for run in some))}" for name, some in lines.items())
        yield f"The runs have different numbers of steps, so that their ends and areas differ by that too: {steps}."
    if runs and sources["final"] == "training":
        yield "Not every run has a held-out evaluation of every reward: the final values are of the training batches."
    if sources["final"] == "held-out":
        for reward in sorted(_never_held_out(runs)):
            yield f"No run has a score of {reward!r} on held-out prompts, so that it has no final value."
    for reward in rewards:
        without = [name for name, some in lines.items() if not any(reward in run.rewards for run in some)]
        if without:
            yield f"There is no reward {reward!r} in: {'; '.join(without)}."
    for (first, some), (second, others) in itertools.combinations(lines.items(), 2):
        for seed, setting in itertools.islice(unpaired_settings(some, others), 1):
            yield f"{first} and {second} are no pairs: {setting} differs between their runs of seed {seed}."
        alone = {run.seed for run in some} ^ {run.seed for run in others}
        if alone:
            seeds = ", ".join(map(str, sorted(alone)))
            yield f"Seeds that only one of {first} and {second} has are left out of their differences: {seeds}."
    for name, found in _versions(runs).items():
        if len(found) > 1:
            yield f"Runs were made with different versions of {name}: {', '.join(found)}."
    for run in runs:
        for change in run.changes:
            yield f"{run.line}, seed {run.seed}, was resumed from step {change.step} on with {_changed(change)}."


def _changed(change: Change) -> str:
    """What of the settings and files is different, in words; more steps alone are no difference."""
    settings = [f"{key} {new} in place of {old}" for key, (old, new) in change.changed.items()]
    return ", ".join([*settings, *(f"another content of {name}" for name in change.files)])


def _late(plan: Plan) -> tuple[str, ...]:
    """What was not declared before the runs."""
    return tuple(
        f"{text!r} was declared when {count} runs had finished, and gives no verdict."
        for text, count in plan.late.items()
    )


def _versions(runs: Sequence[Run]) -> dict[str, list[str]]:
    names = dict.fromkeys(name for run in runs for name in run.versions)
    return {name: _unique(run.versions[name] for run in runs if name in run.versions) for name in names}


def _unique(values: Iterator[object]) -> list[str]:
    return list(dict.fromkeys(map(str, values)))


def _check_cells(runs: Sequence[Run], failed: Sequence[FailedRun]) -> None:
    if not runs and not failed:
        raise ConfigError("there is nothing to report: no run finished and none failed")
    seen: set[tuple[str, int]] = set()
    for line, seed in [(run.line, run.seed) for run in runs] + [(run.line, run.seed) for run in failed]:
        if (line, seed) in seen:
            raise ConfigError(f"line {line!r} has two runs of seed {seed}; give one of them another line")
        seen.add((line, seed))
