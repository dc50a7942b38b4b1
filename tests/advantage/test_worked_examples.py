"""The paper's worked examples, to 1e-6 with eps 0."""

from __future__ import annotations

import pytest
import torch

from morl.advantage import GDPO, GRPO, GRPONoStd
from morl.types import RewardMatrix

HALF = 0.5**0.5


def pair(totals: tuple[int, int]) -> RewardMatrix:
    """Two completions whose two binary rewards add up to these totals."""
    of_total = {0: (0.0, 0.0), 1: (1.0, 0.0), 2: (1.0, 1.0)}
    return RewardMatrix.from_groups(torch.tensor([[of_total[total] for total in totals]], dtype=torch.float64))


@pytest.mark.parametrize(
    ("totals", "grpo", "no_std", "gdpo"),
    [
        ((0, 1), HALF, 0.5, HALF),
        ((0, 2), HALF, 1.0, 2 * HALF),
        ((1, 2), HALF, 0.5, HALF),
        ((0, 0), 0, 0, 0),
        ((1, 1), 0, 0, 0),
        ((2, 2), 0, 0, 0),
    ],
)
def test_two_completions_two_binary_rewards(totals: tuple[int, int], grpo: float, no_std: float, gdpo: float) -> None:
    for estimator, expected in ((GRPO(eps=0), grpo), (GRPONoStd(), no_std), (GDPO(batch_norm=False), gdpo)):
        assert estimator(pair(totals)).values_B.tolist() == pytest.approx([-expected, expected], abs=1e-6)


def test_equal_totals_of_unequal_rewards() -> None:
    """r1 = (1, 1, 0), r2 = (0, 0, 1): grpo sees three equal totals; gdpo too, until the weights differ."""
    values = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    even = RewardMatrix.from_groups(values)
    for estimator in (GRPO(eps=0), GRPONoStd(), GDPO(eps=0), GDPO(batch_norm=False)):
        assert estimator(even).values_B.tolist() == [0, 0, 0]
    uneven = RewardMatrix.from_groups(values, weights={"r1": 0.5})
    a, b, c = GDPO(batch_norm=False)(uneven).values_B.tolist()
    # Each reward alone: 1/sqrt(3) for the two, -2/sqrt(3) for the third.
    assert (a, b, c) == pytest.approx((0.5 / 3**0.5, 0.5 / 3**0.5, -1 / 3**0.5), abs=1e-6)


def test_a_batch_of_one_pair_turns_gdpo_into_grpo() -> None:
    """Batch normalisation undoes what group normalisation kept apart; the documentation warns of it."""
    for totals in ((0, 1), (0, 2), (1, 2)):
        values_B = GDPO(eps=0)(pair(totals)).values_B
        assert values_B.tolist() == pytest.approx(GRPO(eps=0)(pair(totals)).values_B.tolist(), abs=1e-12)


def test_batch_normalisation_over_two_prompts() -> None:
    """(0, 1) and (0, 2): sums +-0.7071 and +-1.4142, whose sample standard deviation over the four is sqrt(5/3)."""
    values = torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]], dtype=torch.float64)
    got = GDPO(eps=0)(RewardMatrix.from_groups(values)).values_B
    unit = HALF / (5 / 3) ** 0.5
    assert got.tolist() == pytest.approx([-unit, unit, -2 * unit, 2 * unit], abs=1e-6)


def test_ddof_zero_is_the_standard_deviation_of_the_population() -> None:
    assert GRPO(eps=0, ddof=0)(pair((0, 1))).values_B.tolist() == pytest.approx([-1, 1])
    assert GDPO(ddof=0, batch_norm=False)(pair((0, 2))).values_B.tolist() == pytest.approx([-2, 2])
    assert GDPO(eps=0, ddof=0)(pair((0, 2))).values_B.tolist() == pytest.approx([-1, 1])


def test_eps_is_added_to_the_standard_deviation() -> None:
    deviation = HALF  # of the totals 0 and 1
    assert GRPO(eps=0.5)(pair((0, 1))).values_B[1] == pytest.approx(0.5 / (deviation + 0.5))
    # gdpo's sums are +-HALF, of sample standard deviation 1
    assert GDPO(eps=0.5)(pair((0, 1))).values_B[1] == pytest.approx(HALF / 1.5)


def test_eps_is_in_the_units_of_the_weighted_reward() -> None:
    heavy = RewardMatrix.from_groups(torch.tensor([[[0.0], [8.0]]], dtype=torch.float64), weights={"r0": 4.0})
    assert GRPO(eps=1.0)(heavy).values_B[1] == pytest.approx(16 / (32 * HALF + 1))
    assert GDPO(eps=1.0)(heavy).values_B[1] == pytest.approx(4 * HALF / (4 + 1))
