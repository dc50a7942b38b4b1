"""What came of the studies, from the results that are committed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from morl.analysis.plan import PRIMARY
from morl.analysis.results import Comparison, Results
from morl.analysis.statistics import mean_interval
from morl.analysis.tables import Table, differences_table, number, scores_table

STUDIES = Path(__file__).resolve().parents[2] / "studies"
_ABSENT = "–"


def study(name: str, *pairs: tuple[str, str]) -> Iterator[str]:
    """The command of a study, its final scores, and how far these pairs of arms are apart."""
    results = Results.load(STUDIES / name / "results.json")
    yield from ("```console", f"$ {results.command}", "```", "")
    yield from _markdown(scores_table(results, "final"))
    arms = {line.name: line.arm for line in results.lines}
    apart: dict[tuple[str, str], dict[str, str]] = {}
    for found in results.comparisons:
        if found.measure == "final" and (arms[found.first], arms[found.second]) in pairs:
            apart.setdefault((found.first, found.second), {})[found.reward] = _apart(found)
    rows = [[f"{second} − {first}", *(cells[r] for r in results.rewards)] for (first, second), cells in apart.items()]
    caption = "The same, differences between runs of one seed: mean [95% interval]; bold where there is a verdict"
    yield from _markdown(Table(caption, ["configurations", *results.rewards], rows))


def declared_study(name: str) -> Iterator[str]:
    """The command of a study with declared contrasts, its final scores, and what came of the contrasts."""
    results = Results.load(STUDIES / name / "results.json")
    yield from ("```console", f"$ {results.command}", "```", "")
    yield from _markdown(scores_table(results, "final"))
    whole = differences_table(results, "final")
    kept = [row for row, found in zip(whole.rows, _finals(results), strict=True) if found.declared]
    yield from _markdown(Table("Declared before the runs", whole.header, kept))


def experiment(name: str) -> Iterator[str]:
    """As `declared_study`, with what tuning chose for each arm, if it was tuned, and the primary metric of each run."""
    yield from declared_study(name)
    results = Results.load(STUDIES / name / "results.json")
    if (tuned := STUDIES / name / "tuned.yaml").is_file():
        yield from _markdown(_chosen(yaml.safe_load(tuned.read_text(encoding="utf-8"))))
    finals = {line.name: line.scores["final"][PRIMARY].by_seed for line in results.lines}
    rows = [[str(seed), *(number(values[seed]) for values in finals.values())] for seed in results.lines[0].steps]
    yield from _markdown(Table("The primary metric of every run", ["seed", *finals], rows))


def _chosen(tuned: dict[str, Any]) -> Table:
    words = shlex.split(tuned["command"])
    keys = [words[i + 1].partition("=")[0] for i, word in enumerate(words) if word == "--tune"]
    rows = [
        [arm, *(f"{one['settings'][key]:g}" for key in keys), number(one["mean"])] for arm, one in tuned["arms"].items()
    ]
    caption = f"Chosen beforehand, on seeds {' and '.join(map(str, tuned['seeds']))} and prompts of their own"
    return Table(caption, ["arm", *keys, PRIMARY], rows)


def distinct() -> Iterator[str]:
    """How many advantages a group has in the experiment on distinctness, and what quantising moves."""
    found = json.loads((STUDIES / "e2" / "distinct.json").read_text(encoding="utf-8"))
    yield from ("```console", "$ python studies/e2/distinct.py", "```", "")
    names = ("grpo", "quantised-gdpo", "gdpo")
    rows = [
        [
            case,
            *(number(one[f"distinct, {name}"]) for name in names),
            f"{one['moved']:.0%}",
            f"{one['apart']:.1%}",
        ]
        for case, one in found.items()
    ]
    header = ["case", *(f"distinct, {name}" for name in names), "completions moved", "by, of the rms advantage"]
    caption = (
        "Distinct advantages of a group, and what `quantised-gdpo` changes of `gdpo`; means over the steps of a run of"
        " `gdpo` on the first tuning seed"
    )
    yield from _markdown(Table(caption, header, rows))


def predictions() -> Iterator[str]:
    """What `morl diagnose` says of the studies' initial policies, and what came of it."""
    found = json.loads((STUDIES / "predictions" / "results.json").read_text(encoding="utf-8"))
    yield from ("```console", f"$ {found['command']}", "```", "")
    header = ["study", "estimator", "reward", "predicted", "before training", "after", "at the end"]
    rows = []
    for row in found["rows"]:
        low, high = (f"{row[end]:+.2f}" for end in ("low", "high"))
        predicted = f"{row['predicted']} {row['correlation']:+.2f} [{low}, {high}]"
        after = _ABSENT if row["first"] is None else f"{number(row['first'])} ({row['steps']} steps)"
        cells = [predicted, number(row["before"]), after, number(row["end"])]
        rows.append([row["case"], row["estimator"], row["reward"], *cells])
    caption = (
        f"Correlation of advantage and reward under the initial policy of seed 0 [95% interval over {found['prompts']}"
        " training prompts], and the median held-out reward over the seeds of the study"
    )
    yield from _markdown(Table(caption, header, rows))


def study_of_backends() -> Iterator[str]:
    """As `study`, and the figures of each run."""
    yield from study("backends", ("transformers", "vllm"))
    results = Results.load(STUDIES / "backends" / "results.json")
    finals = {
        f"{reward}, {line.name}": line.scores["final"][reward].by_seed
        for reward in results.rewards
        for line in results.lines
    }
    rows = [[str(seed), *(number(values[seed]) for values in finals.values())] for seed in results.lines[0].steps]
    samples = [list(values.values()) for values in finals.values()]
    means = [f"{number(fmean(s))} [{', '.join(map(number, mean_interval(s)))}]" for s in samples]
    caption = "Every run, and mean [95% interval] of each backend, whose runs are samples of their own"
    yield from _markdown(Table(caption, ["seed", *finals], [*rows, ["mean", *means]]))


def _finals(results: Results) -> list[Comparison]:
    return [found for found in results.comparisons if found.measure == "final"]


def _apart(found: Comparison) -> str:
    difference = found.difference
    text = f"{number(difference.mean)} [{number(difference.low)}, {number(difference.high)}]"
    return f"**{text}**" if found.seen else text


def _markdown(table: Table) -> Iterator[str]:
    yield from (f"{table.caption}:", "", f"| {' | '.join(table.header)} |", "|---" * len(table.header) + "|")
    yield from (f"| {' | '.join(row)} |" for row in table.rows)
    yield ""
