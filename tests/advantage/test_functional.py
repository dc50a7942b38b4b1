"""The plain functions: the estimators on a (P, G, K) tensor."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from morl.advantage import GDPO, GRPO, GRPONoStd, gdpo, grpo, grpo_no_std
from morl.errors import ConfigError, RewardError
from morl.types import RewardMatrix

FUNCTIONS: list[tuple[Callable[..., Tensor], Any]] = [(grpo, GRPO()), (grpo_no_std, GRPONoStd()), (gdpo, GDPO())]
each = pytest.mark.parametrize(("function", "estimator"), FUNCTIONS, ids=lambda v: getattr(v, "__name__", ""))


@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_same_as_the_estimator(function: Callable[..., Tensor], estimator: Any, dtype: torch.dtype) -> None:
    rewards = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    valid = torch.rand(5, 4, 3, generator=torch.Generator().manual_seed(1)) < 0.8
    names, weights = ("format", "correct", "short"), {"short": 0.25}
    got = function(rewards, weights, names=names, valid=valid)
    assert (got.shape, got.dtype) == ((5, 4), dtype)
    expected = estimator(RewardMatrix.from_groups(rewards, names, weights, valid)).values_B
    assert torch.equal(got.flatten(), expected)


def test_options_are_keywords() -> None:
    rewards = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
    assert grpo(rewards, eps=0, ddof=0).tolist() == [[-1, 1]]
    assert gdpo(rewards, eps=0, ddof=0).tolist() == [[-1, 1]]
    assert gdpo(rewards, ddof=0, batch_norm=False).tolist() == [[-2, 2]]
    assert grpo_no_std(rewards, {"r1": 3.0}).tolist() == [[-2, 2]]


@each
def test_what_is_not_a_reward_tensor_is_refused(function: Callable[..., Tensor], estimator: Any) -> None:
    with pytest.raises(ValueError, match=r"rewards must be \(P, G, K\); got \(32,\)"):
        function(torch.zeros(32))
    with pytest.raises(ValueError, match=r"rewards must be a float tensor \(P, G, K\); got list"):
        function([[[0.0]]])
    with pytest.raises(ValueError, match=r"rewards must be a float tensor .*torch.int64"):
        function(torch.zeros(1, 2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"valid must be a bool tensor \(1, 2, 3\), like rewards; got \(2, 3\)"):
        function(torch.zeros(1, 2, 3), valid=torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"valid must be a bool tensor .* torch.float32"):
        function(torch.zeros(1, 2, 3), valid=torch.ones(1, 2, 3))
    with pytest.raises(ValueError, match="weights must map reward names to numbers; got list"):
        function(torch.zeros(1, 2, 3), [1.0, 0.5, 0.5])
    with pytest.raises(ConfigError, match=r"unknown reward 'r9'.*; rewards: r0, r1, r2"):
        function(torch.zeros(1, 2, 3), {"r9": 1.0})
    with pytest.raises(ValueError, match="expected 3 distinct reward names"):
        function(torch.zeros(1, 2, 3), names=["a", "b"])
    with pytest.raises(RewardError, match="reward 'r1' of completion 1 is inf"):
        function(torch.tensor([[[0.0, 0.0], [0.0, torch.inf]]]))


def test_the_room_needs_torch_and_attrs_only() -> None:
    code = (
        "import sys, morl.advantage;"
        "heavy = {'lightning', 'transformers', 'datasets', 'pluggy', 'hypothesis', 'jsonargparse', 'vllm'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
