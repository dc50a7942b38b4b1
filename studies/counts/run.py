"""Study (a): how many advantage groups each estimator can tell apart, counted exactly.

    python studies/counts/run.py

Writes `results.json` and `counts.svg` beside itself, in well under a minute.  A group is the multiset ("unordered") or
the tuple ("ordered") of the G advantages of one prompt, over all assignments of reward values to the G completions.
All weights are 1.  eps is 0, as it would only blur what is exact, and gdpo goes without its batch normalisation, which
is one positive factor and changes no count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import asdict, frozen

from morl.advantage import GDPO, GRPO, GRPONoStd, count_distinct_groups
from morl.advantage.counting import assignments
from morl.analysis.compact import compact_json
from morl.analysis.drawing import legend, make_panels
from morl.analysis.looks import nth_look
from morl.analysis.svg import file_svg, house_style
from morl.types import RewardMatrix

HERE = Path(__file__).resolve().parent
COMMAND = "python studies/counts/run.py"
ESTIMATORS: Mapping[str, Any] = {"grpo": GRPO(eps=0), "grpo-no-std": GRPONoStd(), "gdpo": GDPO(batch_norm=False)}
Range = tuple[float, ...]
BINARY: Range = (0, 1)
FOUR_LEVELS: Range = (-3, -1, 1, 3)


AXES = {"group_size": "group size G", "rewards": "number of rewards"}


@frozen
class Case:
    """A group size and the values that each reward can take."""

    group_size: int
    ranges: tuple[Range, ...]


@frozen
class Table:
    """Cases that differ in one thing.

    Args:
        name: for those who quote it.
        title: what is counted.
        varied: what differs, `group_size` or `rewards`.
    """

    name: str
    title: str
    varied: str
    cases: tuple[Case, ...]


TABLES = (
    Table(
        "group-sizes",
        "two rewards in {0, 1}",
        "group_size",
        tuple(Case(G, (BINARY, BINARY)) for G in range(2, 9)),
    ),
    Table(
        "rewards",
        "rewards in {0, 1}, G = 4",
        "rewards",
        tuple(Case(4, (BINARY,) * K) for K in range(2, 6)),
    ),
    Table(
        "unequal-ranges",
        "one reward in {0, 3}, one in {0, 1}",
        "group_size",
        tuple(Case(G, ((0, 3), BINARY)) for G in range(2, 9)),
    ),
    Table(
        "four-levels",
        "one in {-3, -1, 1, 3}, one in {0, 1}",
        "group_size",
        tuple(Case(G, (FOUR_LEVELS, BINARY)) for G in range(2, 7)),
    ),
)

COUNTEREXAMPLES: Mapping[str, tuple[Sequence[Sequence[float]], Sequence[float]]] = {
    "gdpo merges what grpo separates": ([[0, 1], [3, 0]], (1, 1)),
    "equal totals: both are silent": ([[1, 0], [1, 0], [0, 1]], (1, 1)),
    "equal totals, unequal weights": ([[1, 0], [1, 0], [0, 1]], (1, 0.5)),
}
"""Rewards of the completions of one group, and the weights of the rewards."""


def count(case: Case) -> dict[str, Any]:
    """Distinct groups of a case by estimator, and the number of all assignments."""
    found: dict[str, Any] = {"group_size": case.group_size, "rewards": len(case.ranges)}
    for key, ordered in (("unordered", False), ("ordered", True)):
        found[key] = {
            name: count_distinct_groups(estimator, case.group_size, case.ranges, ordered=ordered)
            for name, estimator in ESTIMATORS.items()
        }
    return found


def merged_by_gdpo(case: Case) -> int:
    """Ordered groups that gdpo and grpo tell apart together, less those that gdpo does alone."""
    everything = assignments(case.group_size, case.ranges, ordered=True)
    grpo, gdpo = (
        (ESTIMATORS[name](everything).values_B.view(-1, case.group_size) * 1e9).round() for name in ("grpo", "gdpo")
    )
    together = torch.unique(torch.cat([grpo, gdpo], 1), dim=0)
    return len(together) - len(torch.unique(gdpo, dim=0))


def counterexample(rewards: Sequence[Sequence[float]], weights: Sequence[float]) -> dict[str, Any]:
    """The advantages of one group under each estimator."""
    values = torch.tensor(rewards, dtype=torch.float64)[None]
    names = [f"r{k}" for k in range(len(weights))]
    matrix = RewardMatrix.from_groups(values, names, dict(zip(names, weights, strict=True)))
    advantages = {
        name: [round(value, 4) + 0.0 for value in estimator(matrix).values_B.tolist()]
        for name, estimator in ESTIMATORS.items()
    }
    return {"rewards": rewards, "weights": weights, "advantages": advantages}


def results() -> dict[str, Any]:
    """Everything that is counted."""
    return {
        "command": COMMAND,
        "estimators": list(ESTIMATORS),
        "tables": [{**asdict(table), "cases": [*map(count, table.cases)]} for table in TABLES],
        "merged_by_gdpo": {
            "two rewards in {0, 1}, G = 6": merged_by_gdpo(Case(6, (BINARY, BINARY))),
            "three rewards in {0, 1}, G = 4": merged_by_gdpo(Case(4, (BINARY,) * 3)),
            "one reward in {0, 3}, one in {0, 1}, G = 4": merged_by_gdpo(Case(4, ((0, 3), BINARY))),
        },
        "counterexamples": {name: counterexample(*given) for name, given in COUNTEREXAMPLES.items()},
    }


def plot(found: Mapping[str, Any]) -> str:
    """Unordered groups by estimator, a panel for each table."""
    look = {name: nth_look(k, k, k) for k, name in enumerate(found["estimators"])}
    with house_style():
        figure, panels = make_panels(len(found["tables"]), width=3.0, columns=2)
        for axes, table in zip(panels, found["tables"], strict=True):
            at = [case[table["varied"]] for case in table["cases"]]
            for name, one in look.items():
                counts = [case["unordered"][name] for case in table["cases"]]
                axes.plot(at, counts, color=one.colour, linestyle=one.dash, marker=one.marker)
            axes.set(title=table["title"], yscale="log", xlabel=AXES[table["varied"]])
            axes.set_xticks(at)
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        for axes in panels[::2]:
            axes.set_ylabel("distinct groups")
        legend(figure, look)
        return file_svg(figure, "Distinct advantage groups by group size and number of rewards, for each estimator")


def main() -> None:
    torch.set_num_threads(1)
    found = results()
    (HERE / "results.json").write_text(compact_json(found), encoding="utf-8")
    (HERE / "counts.svg").write_text(plot(found), encoding="utf-8")


if __name__ == "__main__":
    main()
