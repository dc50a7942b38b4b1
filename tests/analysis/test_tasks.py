"""Finals of different tasks are not traded off against each other."""

from __future__ import annotations

import pytest

from morl.analysis.figures import study_plots
from morl.analysis.runs import read_run
from morl.analysis.summary import summarise
from morl.analysis.svg import house_style
from morl.analysis.tasks import by_task


def test_lines_are_of_one_task_unless_what_is_asked_or_scored_differs():
    different = {
        "prompts.split": {"a": "x", "b": "y", "c": "x"},
        "rewards.brief.weight": {"a": 1, "b": 1, "c": 2},
        "estimator.name": {"a": "gdpo", "b": "grpo", "c": "grpo"},
    }
    assert by_task("abc", str, different) == {"prompts.split=x": ["a", "c"], "prompts.split=y": ["b"]}
    assert by_task("abc", str, {"estimator.name": different["estimator.name"]}) == {"": ["a", "b", "c"]}
    both = {"prompts.split": different["prompts.split"], "rewards.brief.limit": {"a": 1, "b": 1, "c": 2}}
    assert [*by_task("abc", str, both).values()] == [["a"], ["b"], ["c"]], "by all settings that make a task"


@pytest.fixture
def of_two_tasks(make_run):
    """`of_two_tasks(arms of the first task)`: the harder task's only line is dominated by every line of the other."""

    def made(*arms):
        runs = [
            make_run(
                f"{arm}, {level}",
                0,
                {"good": [value], "brief": [value]},
                None,
                {"prompts.level": level},
                arm,
                prompts={"level": level},
                estimator={"name": arm},
            )
            for arm, level, value in (*((arm, 1, 0.8 + 0.1 * n) for n, arm in enumerate(arms)), ("gdpo", 2, 0.1))
        ]
        return summarise([read_run(run) for run in runs], [], "t", "c")

    return made


def test_no_line_is_dominated_by_one_of_another_task(of_two_tasks):
    assert of_two_tasks("grpo", "gdpo").best == ("gdpo, 1", "gdpo, 2")


@pytest.mark.parametrize(
    ("arms", "lines"), [(["grpo", "gdpo"], [4, 2]), (["gdpo"], [2, 2])], ids=["two arms", "one arm"]
)
def test_no_panel_of_trade_offs_has_two_tasks(of_two_tasks, arms, lines):
    with house_style():
        (plot,) = (one for one in study_plots(of_two_tasks(*arms)) if one.name == "pareto")
        drawn = [len(axes.lines) for figure in plot.figures() for axes in figure.axes]
    assert drawn == lines, "the runs and the median of each line"
    first, second = (axes for figure in plot.figures() for axes in figure.axes)
    assert first.get_xlim() == second.get_xlim(), "and yet one scale"
