"""`morl analyze` counts what `morl.advantage.counting` counts, and a group of two by hand."""

from __future__ import annotations

import math

import pytest

from morl.advantage import GDPO, GRPO
from morl.advantage.counting import Merged, assignments, count_distinct_groups, sample_merged_pairs
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
        (["gdpo", "--weights=1,x"], "expected numbers with commas between them, got '1,x'"),
        (["gdpo", "--weights=1,2", "--rewards=3"], "--weights has 2 numbers, and --rewards=3"),
        (["gdpo", "--levels=4", "--rewards=40"], "40 rewards of 4 levels are too many"),
        (["gdpo", "--set", "esp=1"], "refused its options"),
        (["gdpo", "--set", "eps=0.5"], "is not small against its standard deviations"),
    ],
)
def test_what_cannot_be_counted_is_refused(capsys, arguments, says):
    assert says in said(capsys, *arguments, code=2)


def test_weights_are_those_of_the_rewards(capsys):
    """The differences of two sums: 0, 1, 2 with equal weights; also 3 where one reward counts twice."""
    weighted = said(capsys, "grpo-no-std", "--group-size=2", "--weights=1,2").splitlines()[1].split()
    plain = said(capsys, "grpo-no-std", "--group-size=2").splitlines()[1].split()
    assert (weighted, plain) == (["2", "10", "4"], ["2", "10", "3"])


@pytest.mark.parametrize("one", [GRPO(), GDPO(), GRPO(eps=0)])
def test_sampled_pairs_agree_with_all_pairs(one):
    """The chance over all pairs of ordered groups, which are equally likely, by enumeration."""
    ranges = [range(2)] * 2
    matrix = assignments(3, ranges, ordered=True)
    groups = [tuple(sorted(map(tuple, group.tolist()))) for group in matrix.values_BK.view(-1, 3, 2)]
    values = [tuple(round(v, 3) + 0.0 for v in sorted(group.tolist())) for group in one(matrix).values_B.view(-1, 3)]
    pairs = [(a, b) for a in range(len(groups)) for b in range(len(groups)) if groups[a] != groups[b]]
    expected = sum(values[a] == values[b] for a, b in pairs) / len(pairs)
    found = sample_merged_pairs(one, 3, ranges, pairs=20_000)
    assert found.share == pytest.approx(expected, abs=4 * found.error)
    assert 0 < found.error < 0.01


def test_beyond_what_fits_pairs_are_sampled_and_the_error_is_said(capsys):
    text = said(capsys, "grpo", "gdpo", "--group-size=2,64", "--levels=4", "--rewards=3")
    assert "Too many groups to count" in text
    *_, last = text.splitlines()
    assert last.split()[0] == "64"
    assert last.count("±") == 2


def test_without_a_merged_pair_the_error_is_not_zero():
    assert Merged(0, 100).error > 0.01
    assert math.isnan(Merged(0, 0).share)
