"""Contrasts, margins and primary metrics are said before the runs, and stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from morl.analysis.plan import Contrast, Plan
from morl.compare.declared import declarations, declared_in_time, remember
from morl.compare.folder import StudyFolder
from morl.errors import ConfigError

GOOD, BRIEF = Contrast("grpo", "gdpo", "good"), Contrast("grpo", "gdpo", "brief")


def declare(folder: StudyFolder, plan: Plan, finished: int) -> Plan:
    folder.path.mkdir(exist_ok=True)
    found, made = declared_in_time(folder, plan, finished)
    remember(folder, made)
    return found


def test_a_declaration_is_in_time_before_the_first_run_has_finished(tmp_path):
    folder = StudyFolder(tmp_path / "study")
    plan = Plan((GOOD,), 0.02, {"good": (0, 1)})
    assert declare(folder, plan, 0) == plan
    assert declare(folder, plan, 7) == plan, "what was declared in time stays so"
    more = declare(folder, Plan((GOOD, BRIEF), 0.02, {"good": (0, 1)}), 7)
    assert more.late == {"gdpo - grpo: brief": 7}
    assert more.equivalence == 0.02
    assert declare(folder, more, 9).late == {"gdpo - grpo: brief": 7}


def test_a_late_margin_gives_no_verdict(tmp_path):
    folder = StudyFolder(tmp_path / "study")
    declare(folder, Plan((GOOD,)), 0)
    late = declare(folder, Plan((GOOD,), 0.02), 3)
    assert (late.equivalence, late.late) == (None, {"equivalence 0.02": 3})


@pytest.mark.parametrize("plan", [Plan(), Plan((BRIEF,), 0.02), Plan((GOOD,), 0.05), Plan((GOOD,))])
def test_a_declaration_cannot_be_withdrawn(tmp_path, plan):
    folder = StudyFolder(tmp_path / "study")
    declare(folder, Plan((GOOD,), 0.02), 0)
    with pytest.raises(ConfigError, match=r"study was declared with '.*', which this command leaves out or changes"):
        declare(folder, plan, 0)


def test_what_is_declared_is_text():
    plan = Plan((GOOD,), 0.02, {"good": (0, 1), "content": (-3, 3)})
    assert declarations(plan) == ["gdpo - grpo: good", "equivalence 0.02", "primary good:0:1,content:-3:3"]
    assert declarations(Plan()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--declare", "gdpo - grpo: shrot"],
            "gdpo - grpo: shrot': no reward 'shrot'; did you mean 'short'?",
        ),
        (["--declare", "gdpo - gropo: short"], "no arm 'gropo'; did you mean 'grpo'?"),
        (["--equivalence", "0"], "--equivalence is a margin above 0, in units of the reward; got 0"),
        (["--equivalence", "inf"], "--equivalence is a margin above 0"),
        (["--primary", "short:0:1,vowl:0:1"], "--primary: no reward 'vowl'; did you mean 'vowel'?"),
        (["--primary", "short:1:0"], "--primary takes REWARD:LOWEST:HIGHEST"),
    ],
)
def test_what_cannot_be_declared_is_refused_before_anything_runs(compare, arguments, says):
    code, said = compare("--estimators", "grpo", "gdpo", "--seeds", "0", *arguments)
    assert code == 2
    assert says in " ".join(said.split())
    assert not Path("out").exists()
