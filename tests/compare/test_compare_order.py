"""Which cell comes next."""

from __future__ import annotations

from morl.compare.check import CheckedCell
from morl.compare.grid import Grid
from morl.compare.run import next_cell
from morl.config import Config, PolicyConfig


def cells(policy: str) -> list[CheckedCell]:
    """Two arms with two seeds, which the policy takes as well."""
    return [
        CheckedCell(cell, Config(policy=PolicyConfig(policy, {"seed": cell.seed})), {}, frozenset())
        for cell in Grid({"a": {}, "b": {}}, {}, [0, 1]).cells()
    ]


def test_cells_start_in_their_order():
    first, *rest = cells("playground")
    assert next_cell([first, *rest], []) is first
    assert next_cell([], []) is None


def test_a_policy_in_the_making_is_not_made_by_a_second_cell():
    a0, b0, a1, b1 = cells("playground")
    assert next_cell([b0, a1, b1], [a0]) is a1
    assert next_cell([b0, b1], [a0, a1]) is None
    assert next_cell([b0, b1], []) is b0, "once it has made a step it has its policy"


def test_a_policy_that_is_there_is_waited_for_by_nobody():
    a0, b0, *_ = cells("pretrained")
    assert next_cell([b0], [a0]) is b0
