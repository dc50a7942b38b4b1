"""The losses beside the clipped one: what sets each apart."""

from __future__ import annotations

import math

import pytest
import torch
from attrs import evolve

from morl.errors import ConfigError
from morl.loss import CISPOLoss, ClippedLoss, GSPOLoss, GSPOTokenLoss, LUSPOLoss, SAPOLoss, VESPOLoss, token_weights
from morl.types import TokenBatch

LENGTHS = torch.tensor([2, 3])


def batch(policy, advantages, old=(-1.0,) * 5):
    return TokenBatch(
        policy_logprobs_T=torch.tensor(policy, dtype=torch.float64).requires_grad_(),
        old_logprobs_T=torch.tensor(old, dtype=torch.float64),
        rollout_logprobs_T=torch.tensor(old, dtype=torch.float64),
        advantages_T=torch.tensor(advantages, dtype=torch.float64),
        rows_T=torch.tensor([0, 0, 1, 1, 1]),
        lengths_B=LENGTHS,
    )


def gradient(loss, tokens):
    weights = token_weights(LENGTHS, loss.aggregation, 8).repeat_interleave(LENGTHS)
    return torch.autograd.grad((loss(tokens).values_T * weights).sum(), tokens.policy_logprobs_T)[0]


APART = [-0.9, -0.7, -1.2, -1.0, -1.3]
WIDE = {"clip_low": 0.9, "clip_high": 9.0}


def test_gspo_and_gspo_token_are_one_where_a_completion_has_one_advantage():
    tokens = batch(APART, [1.0, 1.0, -2.0, -2.0, -2.0])
    torch.testing.assert_close(gradient(GSPOLoss(**WIDE), tokens), gradient(GSPOTokenLoss(**WIDE), tokens))


def test_gspo_token_moves_a_token_by_its_own_advantage():
    tokens = batch(APART, [3.0, 1.0, -2.0, 0.0, 1.0])
    ratios = torch.tensor([0.2, -0.5 / 3], dtype=torch.float64).exp().repeat_interleave(LENGTHS)
    expected = -ratios * tokens.advantages_T / (2 * LENGTHS.repeat_interleave(LENGTHS))
    torch.testing.assert_close(gradient(GSPOTokenLoss(**WIDE), tokens), expected)
    whole = gradient(GSPOLoss(**WIDE), tokens)
    torch.testing.assert_close(whole[:1], whole[1:2])


def test_luspo_is_gspo_times_the_length():
    tokens = batch(APART, [1.0, 1.0, -2.0, -2.0, -2.0])
    expected = gradient(GSPOLoss(**WIDE), tokens) * LENGTHS.repeat_interleave(LENGTHS)
    torch.testing.assert_close(gradient(LUSPOLoss(**WIDE), tokens), expected)


def test_cispo_bounds_the_weight_and_keeps_the_gradient():
    tokens = batch([1.0, -1.0, -9.0, -1.0, -1.0], [1.0, 1.0, -1.0, 0.0, 1.0])
    loss = CISPOLoss(max_ratio=2.0, min_ratio=0.5)
    torch.testing.assert_close(
        gradient(loss, tokens) * 5, torch.tensor([-2.0, -1.0, 0.5, 0.0, -1.0], dtype=torch.float64)
    )
    assert loss(tokens).metrics["clip_fraction"].tolist() == [1.0, 0.0, 1.0, 0.0, 0.0]
    assert gradient(ClippedLoss(), tokens)[0] == 0.0


def test_sapo_lets_through_what_its_gate_says():
    tokens = batch(APART, [1.0, 1.0, -2.0, -2.0, 0.0])
    loss = SAPOLoss(temperature_positive=2.0, temperature_negative=8.0, aggregation="token-mean")
    answer = loss(tokens).metrics
    expected = -answer["gate"] * answer["ratio"] * tokens.advantages_T / 5
    torch.testing.assert_close(gradient(loss, tokens), expected)
    on_policy = batch([-1.0] * 5, [1.0, 1.0, -2.0, -2.0, 0.0])
    torch.testing.assert_close(gradient(loss, on_policy), -on_policy.advantages_T / 5)


def test_the_weight_of_vespo_is_one_on_policy_and_peaks_at_k_over_lambda():
    assert VESPOLoss()(batch([-1.0] * 5, [1.0] * 5)).metrics["weight"].tolist() == [1.0] * 5
    loss = VESPOLoss(k_positive=1.0, lambda_positive=2.0)  # the peak is at 1 / 2

    def weight(ratio):
        apart = torch.tensor(ratio).log().item() / 3
        return float(loss(batch([-1.0, -1.0, *[-1.0 + apart] * 3], [1.0] * 5)).metrics["weight"][2])

    assert weight(0.5) == pytest.approx(0.5 * 2.718281828, rel=1e-6)
    assert weight(0.5) > weight(0.45)
    assert weight(0.5) > weight(0.55)
    assert weight(1e9) < 1e-30


def test_vespo_takes_the_ratio_to_the_rollout_policy():
    tokens = evolve(batch([-1.0] * 5, [1.0] * 5), rollout_logprobs_T=torch.tensor([-1.0, -1.0, -2.0, -1.0, -1.0]))
    weight = VESPOLoss(k_positive=1.0, lambda_positive=1.0)(tokens).metrics["weight"]
    assert weight.tolist() == pytest.approx([1.0, 1.0, *[torch.e * math.exp(1 - torch.e)] * 3])


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (CISPOLoss, {"max_ratio": 0.9}, "min_ratio must be below 1 and max_ratio above 1, .*; got 0.0 and 0.9"),
        (CISPOLoss, {"min_ratio": 1.0}, "min_ratio must be below 1"),
        (CISPOLoss, {"max_ratio": float("inf")}, "max_ratio must be a finite number > 0"),
        (SAPOLoss, {"temperature_negative": 0.0}, "temperature_negative must be a finite number > 0"),
        (VESPOLoss, {"lambda_positive": 0.0}, "lambda_positive must be a finite number > 0"),
        (VESPOLoss, {"k_negative": -1.0}, "k_negative must be a finite number >= 0"),
        (GSPOLoss, {"clip_low": 2.0}, "clip_low must be at most 1"),
        (LUSPOLoss, {"kl_unbiased": True}, "kl_unbiased has no effect"),
        (LUSPOLoss, {"aggregation": "token-mean"}, "with token-mean it would be gspo itself"),
        (GSPOTokenLoss, {"aggregation": "mean"}, "aggregation must be one of"),
    ],
)
def test_options_out_of_range_are_refused(make, options, message):
    with pytest.raises(ConfigError, match=message):
        make(**options)
