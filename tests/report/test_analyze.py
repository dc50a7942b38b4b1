"""`morl analyze` counts what `morl.advantage.counting` counts, and a group of two by hand."""

from __future__ import annotations

import pytest

from morl.advantage import GDPO, GRPO
from morl.advantage.counting import count_distinct_groups
from morl.cli import main


def said(capsys, *arguments, code=0):
    assert main(["analyze", *arguments]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_estimators_stand_side_by_side(capsys):
    head, two, four = said(capsys, "grpo", "gdpo", "--group-size=2,4", "--levels=3").splitlines()
    assert head.split() == ["group", "size", "of", "rewards", "grpo", "gdpo"]
    for line, size, groups in ((two, 2, 45), (four, 4, 495)):
        expected = [count_distinct_groups(one, size, [range(3)] * 2) for one in (GRPO(), GDPO())]
        assert [int(cell) for cell in line.split()] == [size, groups, *expected]


def test_two_completions_with_two_binary_rewards_by_hand(capsys):
    """GRPO: both 0, or one above the other.  GDPO: the rewards may also agree, so that their sum is twice as large."""
    assert said(capsys, "grpo", "gdpo", "--group-size=2").splitlines()[1].split() == ["2", "10", "2", "3"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gdop"], "did you mean 'gdpo'?"),
        (["gdpo", "--group-size=0"], "expected a number from 1 to 999, got '0'"),
        (["gdpo", "--group-size=64", "--levels=4"], "groups to try"),
        (["gdpo", "--set", "esp=1"], "refused its options"),
        (["gdpo", "--set", "eps=0.5"], "is not small against its standard deviations"),
    ],
)
def test_what_cannot_be_counted_is_refused(capsys, arguments, says):
    assert says in said(capsys, *arguments, code=2)
