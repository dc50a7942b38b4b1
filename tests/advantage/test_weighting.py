"""Weightings: where they act, what is refused, and how the batch normalisation follows."""

from __future__ import annotations

import pytest
import torch
from attrs import frozen
from hypothesis import given

from morl.advantage import GDPO, GRPO, ConstantWeighting, GRPONoStd
from morl.errors import ConfigError, PluginError
from morl.testing import check_advantage_estimator, reward_matrices
from morl.types import RewardMatrix

ESTIMATORS = (GRPO, GRPONoStd, GDPO)


@frozen
class Fixed:
    """The same factors in every batch."""

    factors: tuple[float, ...]

    def __call__(self, rewards: RewardMatrix) -> torch.Tensor:
        factors = (*self.factors, *[1.0] * len(rewards.names))[: len(rewards.names)]
        return rewards.weights_K * torch.tensor(factors, dtype=torch.float64)


@frozen
class ByStd:
    """DVAO's: each reward's std in its group, as a share of all of them; (B, K)."""

    def __call__(self, rewards: RewardMatrix) -> torch.Tensor:
        weights_BK = torch.zeros_like(rewards.values_BK, dtype=torch.float64)
        for group in rewards.group_ids_B.unique():
            rows = rewards.group_ids_B == group
            for k in range(len(rewards.names)):
                valid = rows & rewards.valid_BK[:, k]
                values = rewards.values_BK[valid, k].double()
                if len(values) > 1 and values.min() < values.max():
                    weights_BK[rows, k] = rewards.weights_K[k] * values.std()
        return weights_BK / weights_BK.abs().sum(1, keepdim=True).clamp(min=1e-12)


@frozen
class OnTheGood:
    """DARA's asymmetric form: a factor where a reward is above its mean in the group."""

    factor: float = 3.0

    def __call__(self, rewards: RewardMatrix) -> torch.Tensor:
        weights_BK = rewards.weights_K.expand(rewards.values_BK.shape).clone()
        for group in rewards.group_ids_B.unique():
            rows = rewards.group_ids_B == group
            for k in range(len(rewards.names)):
                valid = rows & rewards.valid_BK[:, k]
                if valid.any():
                    values = rewards.values_BK[:, k].double()
                    weights_BK[valid & (values > values[valid].mean()), k] *= self.factor
        return weights_BK


@pytest.mark.parametrize("make", ESTIMATORS)
@given(rewards=reward_matrices(max_rewards=3))
def test_weights_per_reward_are_those_of_the_config(make, rewards):
    factors = (2.0, 0.0, -1.0)
    by_config = {n: rewards.weights.get(n, 1.0) * f for n, f in zip(rewards.names, factors, strict=False)}
    expected = make()(RewardMatrix(
        rewards.values_BK, rewards.group_ids_B, rewards.names, by_config, valid_BK=rewards.valid_BK
    ))  # fmt: skip
    found = make(weighting=Fixed(factors))(rewards)
    assert torch.equal(found.values_B, expected.values_B)
    assert torch.equal(found.contributions_BK, expected.contributions_BK)


@pytest.mark.parametrize("make", ESTIMATORS)
@given(rewards=reward_matrices())
def test_equal_weights_written_out_for_every_completion_change_no_bit(make, rewards):
    wide = make(weighting=lambda r: r.weights_K.expand(r.values_BK.shape))(rewards)
    assert torch.equal(wide.values_B, make()(rewards).values_B)


def test_weights_act_between_normalisation_and_sum():
    """By hand: z = (-1, 1)/sqrt(2) for the first reward, its opposite for the second."""
    rewards = RewardMatrix.from_groups(torch.tensor([[[0.0, 9.0], [2.0, 1.0]]], dtype=torch.float64))
    answer = GDPO(batch_norm=False, weighting=Fixed((3.0, 1.0)))(rewards)
    half = 0.5**0.5
    torch.testing.assert_close(answer.values_B, torch.tensor([-2 * half, 2 * half], dtype=torch.float64))
    torch.testing.assert_close(
        answer.contributions_BK, torch.tensor([[-3 * half, half], [3 * half, -half]], dtype=torch.float64)
    )


def test_dvao_is_never_larger_than_grpo():
    """One group, by plain PyTorch: sum_k w_k s_k z_k / sum_l w_l s_l."""
    values = torch.tensor([[0.0, 5.0], [1.0, 1.0], [1.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
    rewards = RewardMatrix.from_groups(values[None])
    z, s = (values - values.mean(0)) / values.std(0), values.std(0)
    torch.testing.assert_close(GDPO(batch_norm=False, weighting=ByStd())(rewards).values_B, (z * s).sum(1) / s.sum())


def test_sign_dependent_weights_subtract_the_mean_of_the_batch():
    """DARA's asymmetric form, by plain PyTorch: (S - mean_batch S) / std_batch S."""
    values = torch.tensor([[[0.0, 5.0], [1.0, 1.0], [1.0, 3.0]], [[2.0, 0.0], [1.0, 4.0], [0.0, 4.0]]])
    rewards = RewardMatrix.from_groups(values.double())
    z = (values.double() - values.double().mean(1, keepdim=True)) / values.double().std(1, keepdim=True)
    total = torch.where(z > 0, 3 * z, z).sum(2).view(-1)
    expected = (total - total.mean()) / total.std()
    answer = GDPO(eps=0, weighting=OnTheGood())(rewards)
    torch.testing.assert_close(answer.values_B, expected)
    torch.testing.assert_close(answer.contributions_BK.sum(1), answer.values_B)
    torch.testing.assert_close(GDPO(batch_norm=False, weighting=OnTheGood())(rewards).values_B, total)


def test_grpo_subtracts_the_mean_of_the_group_again():
    values = torch.tensor([[[0.0, 5.0], [1.0, 1.0], [1.0, 3.0]]], dtype=torch.float64)
    centred = values - values.mean(1, keepdim=True)
    total = torch.where(centred > 0, 3 * centred, centred).sum(2)
    expected = (total - total.mean(1, keepdim=True)).view(-1)
    rewards = RewardMatrix.from_groups(values)
    torch.testing.assert_close(GRPONoStd(weighting=OnTheGood())(rewards).values_B, expected)
    torch.testing.assert_close(GRPO(eps=0, weighting=OnTheGood())(rewards).values_B, expected / expected.std())


def test_what_cancels_to_one_total_everywhere_has_advantage_0():
    """Two rewards in opposition, the better of each doubled: every total is the same, and no rounding is amplified."""
    rewards = RewardMatrix.from_groups(torch.tensor([[[0.1, 0.7], [0.7, 0.1]], [[0.3, 0.4], [0.4, 0.3]]]).double())
    for make in ESTIMATORS:
        assert not make(weighting=OnTheGood(2.0))(rewards).values_B.any()


@pytest.mark.parametrize("weighting", [Fixed((2.0, 0.5, 1.0)), ByStd(), OnTheGood()], ids=repr)
@pytest.mark.parametrize("make", ESTIMATORS)
def test_estimators_keep_their_laws_under_any_weighting(make, weighting):
    # The plain std of this file's DVAO overflows where rewards are as large as their dtype allows.
    without = ["finite"] if weighting == ByStd() else []
    check_advantage_estimator(lambda: make(weighting=weighting), without=without, max_examples=15)


@pytest.mark.parametrize(
    ("weighting", "fault"),
    [
        (lambda r: None, "returned NoneType; expected a tensor \\(2,\\), a weight per reward, or \\(2, 2\\)"),
        (lambda r: torch.ones(3), "returned shape \\(3,\\)"),
        (lambda r: torch.ones(2, 1), "returned shape \\(2, 1\\)"),
        (lambda r: torch.tensor([1.0, float("nan")]), "returned a weight of reward 'r1' that is not finite"),
        (lambda r: torch.tensor([float("inf"), 1.0]), "returned a weight of reward 'r0' that is not finite"),
        (lambda r: {}["gone"], "failed: KeyError: 'gone'"),
    ],
)
@pytest.mark.parametrize("make", ESTIMATORS)
def test_an_answer_that_is_none_is_refused_by_name(make, weighting, fault):
    class Odd:
        def __call__(self, rewards):
            return weighting(rewards)

    rewards = RewardMatrix.from_groups(torch.tensor([[[0.0, 1.0], [1.0, 1.0]]]))
    with pytest.raises(PluginError, match=f"^weighting Odd {fault}"):
        make(weighting=Odd())(rewards)


def test_a_weighting_says_what_is_wrong_with_the_input_and_is_named():
    def needs_bounds(rewards):
        raise ConfigError("no bounds")

    with pytest.raises(ConfigError, match=r"^weighting needs_bounds: no bounds"):
        GDPO(weighting=needs_bounds)(RewardMatrix.from_groups(torch.ones(1, 2, 1)))


def test_a_weighting_cannot_change_the_rewards():
    def scribbles(rewards):
        rewards.values_BK.zero_()
        rewards.weights["r0"] = 9.0
        return torch.ones(1)

    rewards = RewardMatrix.from_groups(torch.tensor([[[0.0], [1.0]]]), weights={"r0": 1.0})
    assert GRPONoStd(weighting=scribbles)(rewards).values_B.tolist() == [-0.5, 0.5]
    assert rewards.weights == {"r0": 1.0}
    assert rewards.values_BK.any()


def test_what_is_no_weighting_is_refused():
    for make in ESTIMATORS:
        with pytest.raises(ConfigError, match=f"weighting of {make.__name__} must be a function .* got 'constant'"):
            make(weighting="constant")


def test_constant_is_the_weights_of_the_config():
    rewards = RewardMatrix.from_groups(torch.zeros(1, 1, 2), weights={"r1": 0.5})
    assert ConstantWeighting()(rewards).tolist() == [1.0, 0.5]


def test_the_parts_of_a_subtracted_mean_add_up_in_float64():
    values = torch.randn(5, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    answer = GDPO(weighting=OnTheGood())(RewardMatrix.from_groups(values))
    torch.testing.assert_close(answer.contributions_BK.sum(1), answer.values_B, rtol=0, atol=1e-12)
