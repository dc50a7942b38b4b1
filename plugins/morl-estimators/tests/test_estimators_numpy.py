"""Every estimator and weighting against a page of numpy, written from the formulas, group by group and without care for
rounding; `Read` in the docstrings says which of them were read in released code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attrs import evolve

from morl.advantage import GDPO, GRPO, ScheduleWeighting
from morl.types import RewardMatrix
from morl_estimators import (
    CTWA,
    DARA,
    DVAO,
    GD2PO,
    MOGRPO,
    RLOO,
    SAMRPO,
    SAW,
    CorrGRPO,
    Lagrangian,
    MaxRL,
    ParetoRank,
    ReinforcePlusPlus,
    papo,
)

BOUNDS = {"a": (-3.0, 3.0), "b": (0.0, 1.0), "c": (0.0, 4.0)}
NAMES = tuple(BOUNDS)
SEEDS = range(8)


def draw(seed: int) -> np.ndarray:
    """Rewards (P, G, K): one continuous, one binary, one of five levels; some groups in which one does not vary."""
    random = np.random.default_rng(seed)
    values = np.stack([
        random.uniform(-3, 3, (7, 4)), random.integers(0, 2, (7, 4)), random.integers(0, 5, (7, 4)),
    ], axis=2).astype(float)  # fmt: skip
    values[0, :, 0] = 1.5
    values[1:4, :, 1] = 1.0
    return values


def matrix(values: np.ndarray, weights: dict[str, float] | None = None) -> RewardMatrix:
    lengths = torch.arange(1, values.shape[0] * values.shape[1] + 1)
    rewards = RewardMatrix.from_groups(torch.tensor(values), NAMES[: values.shape[2]], weights)
    return evolve(rewards, bounds={name: BOUNDS[name] for name in rewards.names}, lengths_B=lengths)


def z(values: np.ndarray, ddof: int = 1) -> np.ndarray:
    """Normalised in the group, axis 1; 0 where nothing varies."""
    centred, std = values - values.mean(1, keepdims=True), values.std(1, ddof=ddof, keepdims=True)
    return np.divide(centred, std, out=np.zeros_like(centred), where=std > 1e-12)


def same(found: torch.Tensor, expected: np.ndarray, tolerance: float = 1e-9) -> None:
    np.testing.assert_allclose(found.numpy(), expected.reshape(found.shape), rtol=tolerance, atol=tolerance)


each = pytest.mark.parametrize("seed", SEEDS)
W = {"b": 0.5, "c": 2.0}
WEIGHTS = np.array([1.0, 0.5, 2.0])


@each
def test_mo_grpo_adds_normalised_rewards(seed):
    values = draw(seed)
    same(MOGRPO()(matrix(values)).values_B, z(values).sum(2))
    same(MOGRPO(ddof=0)(matrix(values)).values_B, z(values, 0).sum(2))


@each
def test_papo_normalises_the_process_over_the_correct(seed):
    values = draw(seed)[:, :, 1:]
    expected = z(values[:, :, :1])[:, :, 0]
    for p, group in enumerate(values):
        correct = group[:, 0] >= 1
        if correct.sum() > 1 and group[correct, 1].std() > 0:
            process = group[correct, 1]
            expected[p, correct] += (process - process.mean()) / process.std(ddof=1)
    rewards = RewardMatrix.from_groups(torch.tensor(values), ("correct", "rubric"))
    same(papo("rubric", "correct")(rewards).values_B, expected)


@each
def test_rloo_compares_with_the_mean_of_the_others(seed):
    total = (draw(seed) * WEIGHTS).sum(2)
    others = (total.sum(1, keepdims=True) - total) / (total.shape[1] - 1)
    same(RLOO()(matrix(draw(seed), W)).values_B, total - others)


@each
def test_reinforce_normalises_over_the_batch(seed):
    total = (draw(seed) * WEIGHTS).sum(2)
    rewards = matrix(draw(seed), W)
    same(ReinforcePlusPlus(eps=1e-3)(rewards).values_B, (total - total.mean()) / (total.std(ddof=1) + 1e-3))
    shaped = total - total.mean(1, keepdims=True)
    expected = (shaped - shaped.mean()) / (shaped.std(ddof=1) + 1e-3)
    same(ReinforcePlusPlus(baseline="group", eps=1e-3)(rewards).values_B, expected)


@each
def test_corr_grpo_divides_by_what_the_correlations_add_up_to(seed):
    values = draw(seed) * WEIGHTS
    expected = np.zeros(values.shape[:2])
    for floor, estimator in ((0.0, CorrGRPO()), (1.0, CorrGRPO(floor=1.0))):
        for p, group in enumerate(values):
            live = group[:, group.std(0) > 0]
            rho = np.atleast_2d(np.corrcoef(live, rowvar=False)).sum() if live.shape[1] else 0.0
            expected[p] = (group.sum(1) - group.sum(1).mean()) / np.sqrt(max(rho, floor) + 1e-6)
        same(estimator(matrix(draw(seed), W)).values_B, expected, 1e-6)


@each
@pytest.mark.parametrize("form", ["hard", "snr"])
@pytest.mark.parametrize("share", [True, False])
def test_gd2po_leaves_out_what_contradicts_itself(seed, form, share):
    a = z(draw(seed))
    out = (a > 1e-8).any(2) & (a < -1e-8).any(2)
    if form == "snr":
        out &= np.abs(a.sum(2)) / (np.abs(a).sum(2) + 1e-8) < 0.6
    kept = ~out
    assert 1 < kept.sum() < kept.size
    total = a.sum(2) * (kept.mean(1, keepdims=True) if share else 1.0)
    expected = np.zeros_like(total)
    expected[kept] = (total[kept] - total[kept].mean()) / total[kept].std(ddof=1)
    tau = {"tau": 0.6} if form == "snr" else {}
    answer = GD2PO(form=form, share=share, eps=0, **tau)(matrix(draw(seed)))
    same(answer.values_B, expected)
    same(answer.contributions_BK.sum(1), expected)


def test_a_tie_at_tau_is_kept():
    """z = 1.5 and -1 in a group: |sum| / sum of sizes is exactly 0.2."""
    first = [3.0, -1.0, -1.0, -1.0]  # z = 1.5, -.5, -.5, -.5
    values = np.array([first, [-1.0, 1.0, 0.0, 0.0]]).T[None]
    ratio = np.abs(z(values).sum(2)) / np.abs(z(values)).sum(2)
    tau = float(ratio[0, 0])
    rewards = RewardMatrix.from_groups(torch.tensor(values))
    assert GD2PO(form="snr", tau=tau, eps=0)(rewards).values_B[0] != 0
    assert GD2PO(form="snr", tau=tau + 1e-6, eps=0)(rewards).values_B[0] == 0


def test_gd2po_with_one_completion_left_is_0():
    values = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    assert not GD2PO()(RewardMatrix.from_groups(values)).values_B.any()


@each
def test_maxrl_divides_by_the_mean(seed):
    values = np.abs(draw(seed))
    values[2] = 0.0
    total = (values * WEIGHTS).sum(2)
    mean = total.mean(1, keepdims=True)
    expected = np.divide(total - mean, mean, out=np.zeros_like(total), where=mean > 0)
    same(MaxRL()(matrix(values, W)).values_B, expected)


@each
def test_pareto_ranks_by_peeling_fronts(seed):
    expected = []
    for group in draw(seed) * np.array([1.0, 1.0, -1.0]):
        rank, left = np.zeros(len(group)), set(range(len(group)))
        while left:
            front = {
                j for j in left
                if not any((group[i] >= group[j]).all() and (group[i] > group[j]).any() for i in left)
            }  # fmt: skip
            rank[list(front)] = rank.max() + 1
            left -= front
        expected.append(-rank)
    answer = ParetoRank(eps=0)(matrix(draw(seed), {"c": -1.0}))
    same(answer.values_B, z(np.array(expected)[:, :, None])[:, :, 0])


# Weightings ----------------------------------------------------------------------------------------------------------


@each
def test_dvao_weighs_by_standard_deviations(seed):
    values = draw(seed)
    expected = np.zeros(values.shape[:2])
    for p, group in enumerate(values):
        size = (WEIGHTS * group.std(0)).sum()
        expected[p] = ((group - group.mean(0)) * WEIGHTS).sum(1) / size
    same(GDPO(batch_norm=False, ddof=0, weighting=DVAO())(matrix(values, W)).values_B, expected)
    total = (values * WEIGHTS).sum(2)
    ceiling = np.abs(z(values, 0)).max(2)
    assert (np.abs(expected) <= ceiling + 1e-9).all()
    assert total.shape == expected.shape


@each
def test_sa_mrpo_weighs_by_what_is_left(seed):
    values = draw(seed)
    low, high = np.array(list(BOUNDS.values())).T
    factor = (1 - (values.reshape(-1, 3).mean(0) - low) / (high - low)) ** 0.25
    total = (z(values) * WEIGHTS * factor).sum(2)
    same(GDPO(eps=0, weighting=SAMRPO(gamma=0.25))(matrix(values, W)).values_B, total / total.std(ddof=1))


@each
@pytest.mark.parametrize("form", ["asym", "sym"])
def test_dara_weighs_by_the_inverse_root_of_density(seed, form):
    values = draw(seed)
    a = z(values)
    density = (np.abs(a).sum(1) > 1e-8).mean(0)
    assert len({*density}) > 1
    factor = np.minimum(5, np.sqrt(density.max() / density))
    total = (np.where(a > 0, factor * a, a) if form == "asym" else factor * a).sum(2)
    expected = (total - total.mean()) / (total.std(ddof=1) + 1e-6)
    same(GDPO(weighting=DARA(form=form))(matrix(values)).values_B, expected)


@each
def test_saw_weighs_by_coefficients_of_variation(seed):
    values = draw(seed)
    x = values.reshape(-1, 3) - np.array([-3.0, 0.0, 0.0])
    cv = x.std(0, ddof=1) / (np.abs(x.mean(0)) + 1e-8)
    factor = 3 * cv / cv.sum()
    total = (z(values) * factor).sum(2)
    same(GDPO(eps=0, weighting=SAW())(matrix(values)).values_B, total / total.std(ddof=1))
    same(GRPO(eps=0, weighting=SAW())(matrix(values)).values_B, z((values * factor).sum(2)[:, :, None])[:, :, 0])


def test_lagrangian_ascends_where_constraints_are_broken():
    constraints = {"a": {"at_least": 0.5}, "b": {"at_most": 0.25}, "c": {"tokens_at_most": 10}}
    weighting, multipliers = Lagrangian(constraints, lr=0.3, start=0.1, ceiling=2.0), np.full(3, 0.1)
    for seed in SEEDS:
        values = draw(seed)
        rewards = matrix(values, W)
        expected = (z(values) * WEIGHTS * multipliers * np.array([1, -1, 1])).sum(2)
        answer = GDPO(batch_norm=False, weighting=weighting)(rewards)
        same(answer.values_B, expected)
        weighting.update(rewards, answer)
        a, b, _ = values.reshape(-1, 3).mean(0)
        tokens = np.arange(1, 29).mean() / 10 - 1
        multipliers = np.clip(multipliers + 0.3 * np.array([0.5 - a, b - 0.25, tokens]), 0, 2)
        assert list(weighting.multipliers.values()) == pytest.approx(multipliers.tolist())


def test_ctwa_raises_weights_that_lag_behind_their_covariance():
    weighting, risen, average = CTWA({"a": 0.9, "b": {"covariance": 0.3, "mean": 0.7}}, lr=0.2), np.zeros(2), None
    for seed in SEEDS:
        values = draw(seed)
        rewards = matrix(values)
        answer = GDPO(weighting=weighting)(rewards)
        a = answer.values_B.numpy().reshape(7, 4).copy()
        kept = np.abs(a) <= 100 * np.median(np.abs(a))
        assert kept.all()
        covariance = np.array([
            np.mean([np.cov(a[p], group[:, k], ddof=0)[0, 1] for p, group in enumerate(values)]) for k in (0, 1)
        ])  # fmt: skip
        average = covariance if average is None else 0.9 * average + 0.1 * covariance
        gate = np.array([1.0, float(values[:, :, 1].mean() < 0.7)])
        risen = risen + 0.2 * np.maximum(0, np.array([0.9, 0.3]) - average) * gate
        weighting.update(rewards, answer)
        same(weighting(rewards), np.array([*np.exp(risen), 1.0]), 1e-9)
    assert (risen > 0).all()


def test_ctwa_drops_outliers():
    """One advantage of a thousand medians says nothing of the covariance."""
    from morl.types import Advantages
    from morl_estimators.weightings.ctwa import covariances_with

    rewards = matrix(draw(0)[:2])
    advantages_B = torch.tensor([1.0, -1, 1, -1, 1, -1, 1, 1000], dtype=torch.float64)
    values = rewards.values_BK[:, 0].numpy()
    a = advantages_B.numpy()
    expected = np.mean([np.cov(a[:4], values[:4], ddof=0)[0, 1], np.cov(a[4:7], values[4:7], ddof=0)[0, 1]])
    found = covariances_with(Advantages(advantages_B, rewards.values_BK).values_B, rewards)
    assert found[0] == pytest.approx(expected)


def test_schedules_follow_their_formulas():
    rewards = matrix(draw(0), W)
    weighting = ScheduleWeighting({
        "a": {"shape": "linear", "start": 1, "end": 0.2, "steps": 10, "begin": 5},
        "b": {"shape": "cosine", "start": 0, "end": 3, "steps": 8},
        "c": {"shape": "piecewise", "points": {0: 1.0, 4: 0.5, 12: 0.0}},
    })  # fmt: skip
    for step in range(20):
        linear = 1 - 0.8 * np.clip((step - 5) / 10, 0, 1)
        cosine = 3 * (1 - np.cos(np.pi * min(step / 8, 1))) / 2
        pieces = 1.0 if step < 4 else 0.5 if step < 12 else 0.0
        same(weighting(evolve(rewards, step=step)), np.array([linear, 0.5 * cosine, 2 * pieces]))
