"""Against recorded outputs of released code (`released.json`, with the commit of each), not against formulas.

That code computes in float32 and adds 1e-6 to standard deviations of groups, which `group_eps` rebuilds where an
estimator has it; tolerances are ten times what float32 leaves, and what the eps leaves where there is no such option.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from morl.advantage import GDPO, GRPO
from morl.types import RewardMatrix
from morl_estimators import DARA, DVAO, GD2PO, SAW, CorrGRPO
from morl_estimators.weightings.ctwa import covariances_with

RELEASED = json.loads((Path(__file__).parent / "released.json").read_text(encoding="utf-8"))
NAMES = ("correctness", "format", "length")
BOUNDS = {"correctness": (-3.0, 3.0), "format": (0.0, 1.0)}
SAME = {"group_eps": 1e-6, "eps": 1e-6}


def rewards_of(paper: str) -> RewardMatrix:
    columns = RELEASED[paper]["rewards"]
    values = torch.tensor(RELEASED["rewards"], dtype=torch.float64)[:, :columns]
    names = NAMES[:columns]
    bounds = {name: BOUNDS[name] for name in names if name in BOUNDS}
    return RewardMatrix(values, torch.arange(len(values)) // 4, names, bounds=bounds)


@pytest.mark.parametrize(
    ("paper", "form", "estimator", "tolerance"),
    [
        ("gd2po", "hard", GD2PO(), 3e-5),
        ("gd2po", "hard, no share", GD2PO(share=False), 3e-5),
        ("gd2po", "snr", GD2PO(form="snr", tau=0.3), 3e-5),
        ("gd2po", "snr, no share", GD2PO(form="snr", tau=0.3, share=False), 3e-5),
        ("saw", "grpo", GRPO(weighting=SAW(), eps=1e-6), 3e-6),
        ("saw", "gdpo", GDPO(weighting=SAW(), group_eps=1e-6, eps=1e-8, batch_divisor="sqrt-var"), 3e-6),
        ("dara", "asym", GDPO(weighting=DARA(), **SAME), 3e-6),
        ("dara", "sym", GDPO(weighting=DARA(form="sym"), **SAME), 3e-6),
        ("dara", "dvao", GDPO(weighting=DVAO(), ddof=0, batch_norm=False), 3e-6),
        ("dara", "gdpo", GDPO(**SAME), 3e-6),
        ("dara", "grpo", GRPO(eps=1e-6), 3e-6),
        ("corr-grpo", "advantages", CorrGRPO(), 3e-6),
    ],
    ids=lambda value: value.replace(", ", "-") if isinstance(value, str) else "_",
)
def test_released_code_gives_the_same(paper, form, estimator, tolerance):
    answer = estimator(rewards_of(paper)).values_B
    np.testing.assert_allclose(answer, RELEASED[paper][form], rtol=0, atol=tolerance)


def test_forms_of_one_paper_differ_by_more_than_the_tolerance():
    """Otherwise the comparison above could not tell them apart."""
    for paper in ("gd2po", "saw", "dara"):
        forms = [np.array(value) for value in RELEASED[paper].values() if isinstance(value, list)]
        for number, one in enumerate(forms):
            assert all(np.abs(one - other).max() > 1e-3 for other in forms[:number])


def test_ctwa_covariances():
    rewards = rewards_of("ctwa")
    found = covariances_with(rewards.values_BK[:, 2], rewards)
    np.testing.assert_allclose([float(value) for value in found], RELEASED["ctwa"]["covariances"], rtol=0, atol=1e-6)


def test_the_example_of_the_readme_of_corr_grpo():
    """Correlations .9756, .1098 and .1098, the third reward with nine times the std: 0.4307, and 0.2536 for GRPO."""
    correlations = np.array([[1.0, 0.9756, 0.1098], [0.9756, 1.0, 0.1098], [0.1098, 0.1098, 1.0]])
    orthogonal = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * np.sqrt(3) / 2  # columns of variance 1
    values = orthogonal @ np.linalg.cholesky(correlations).T * np.array([1.0, 1.0, 9.0])
    values *= np.sqrt(0.911 / np.cov(values.T)[2, 2]) / 0.2536  # the variance of the third is 91.1% of the sum
    np.testing.assert_allclose(np.corrcoef(values.T), correlations, atol=1e-12)
    rewards = RewardMatrix.from_groups(torch.tensor(values[None]))
    total = values.sum(1)
    np.testing.assert_allclose(CorrGRPO()(rewards).values_B.numpy() / total, 0.4307, atol=5e-5)
    np.testing.assert_allclose(GRPO()(rewards).values_B.numpy() / total, 0.2536, atol=5e-4)
