from __future__ import annotations

import pytest
import torch

from morl.errors import ConfigError
from morl.loss import ClippedLoss, kl_divergence, kl_penalty
from morl.types import TokenBatch


def batch(policy, old, advantages, ref=None):
    tensors = [torch.tensor(x, dtype=torch.float64) for x in (policy, old, advantages)]
    return TokenBatch(
        policy_logprobs_T=tensors[0].requires_grad_(),
        old_logprobs_T=tensors[1],
        rollout_logprobs_T=tensors[1],
        advantages_T=tensors[2],
        rows_T=torch.zeros(len(policy), dtype=torch.int64),
        ref_logprobs_T=None if ref is None else torch.tensor(ref, dtype=torch.float64),
    )


def gradient(loss, tokens):
    loss(tokens).values_T.sum().backward()
    return tokens.policy_logprobs_T.grad.tolist()


def test_on_policy_the_gradient_is_that_of_the_policy_gradient():
    tokens = batch([-1.0, -2.0], [-1.0, -2.0], [0.5, -1.5])
    assert gradient(ClippedLoss(), tokens) == pytest.approx([-0.5, 1.5])


@pytest.mark.parametrize(
    ("difference", "advantage", "moves"),
    [
        (0.5, 1.0, False),  # ratio 1.65 over the high bound, more of it is no longer rewarded
        (0.5, -1.0, True),
        (-0.5, -1.0, False),  # ratio 0.61 under the low bound
        (-0.5, 1.0, True),
        (0.1, 1.0, True),
    ],
)
def test_the_clip_stops_only_what_goes_further_out(difference, advantage, moves):
    loss = ClippedLoss(clip_low=0.2, clip_high=0.28)
    tokens = batch([-1.0 + difference], [-1.0], [advantage])
    assert (gradient(loss, tokens) != [0.0]) is moves
    assert loss(batch([-1.0 + difference], [-1.0], [advantage])).metrics["clip_fraction"].tolist() == [float(not moves)]


def test_the_two_bounds_are_separate():
    tokens = batch([-0.75], [-1.0], [1.0])  # ratio 1.284
    assert gradient(ClippedLoss(clip_high=0.28), batch([-0.75], [-1.0], [1.0])) == [0.0]
    assert gradient(ClippedLoss(clip_high=0.3), tokens) != [0.0]


def test_the_upper_bound_follows_the_lower_one_unless_set():
    tokens = batch([-0.75, -0.95], [-1.0, -1.0], [1.0, 1.0])  # ratios 1.284 and 1.051
    assert gradient(ClippedLoss(clip_low=0.03), tokens) == [0.0, 0.0]
    assert ClippedLoss().upper == 0.2
    assert ClippedLoss(clip_low=0.1, clip_high=0.3).upper == 0.3


def test_delta_bounds_the_push_of_a_negative_advantage():
    far = batch([1.0, -0.5], [0.0, -0.5], [-1.0, -1.0])  # ratios e and 1
    assert gradient(ClippedLoss(delta=2.0), far) == [0.0, 1.0]
    answer = ClippedLoss(delta=2.0)(far)
    assert answer.values_T.tolist() == [2.0, 1.0]
    assert answer.metrics["clip_fraction"].tolist() == [1.0, 0.0]


def test_completions_that_left_the_rollout_policy_are_not_pushed_down():
    """Two completions of two tokens: the mean of log(rollout / policy) is 0.5 and 0.1."""
    tokens = TokenBatch(
        policy_logprobs_T=torch.tensor([-2.0, -1.0, -1.1, -1.1]).requires_grad_(),
        old_logprobs_T=torch.tensor([-2.0, -1.0, -1.1, -1.1]),
        rollout_logprobs_T=torch.tensor([-1.0, -1.0, -1.0, -1.0]),
        advantages_T=torch.tensor([-1.0, 1.0, -1.0, -1.0]),
        rows_T=torch.tensor([0, 0, 1, 1]),
        lengths_B=torch.tensor([2, 2]),
    )
    loss = ClippedLoss(off_policy_threshold=0.3)
    assert gradient(loss, tokens) == [0.0, -1.0, 1.0, 1.0]
    assert loss(tokens).metrics["off_policy"].tolist() == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_is_zero_where_policy_and_reference_agree(estimator):
    same = torch.tensor([-0.3, -4.0])
    assert kl_divergence(same, same, estimator).tolist() == [0.0, 0.0]


def test_k1_and_k3_have_the_expectation_of_the_true_divergence():
    policy = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    other = torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64)
    true = (policy * (policy / other).log()).sum()
    for estimator in ("k1", "k3"):
        torch.testing.assert_close((policy * kl_divergence(policy.log(), other.log(), estimator)).sum(), true)


@pytest.mark.parametrize("estimator", ["k1", "k2"])
def test_the_gradient_of_k1_and_k2_is_that_of_the_true_divergence(estimator):
    logits = torch.tensor([0.5, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64).log()
    policy = logits.log_softmax(0)
    true = torch.autograd.grad((policy.exp() * (policy - other)).sum(), logits)[0]
    policy = logits.log_softmax(0)
    sampled = torch.autograd.grad((policy.exp().detach() * kl_penalty(policy, other, estimator)).sum(), logits)[0]
    torch.testing.assert_close(sampled, true)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_off_policy_the_ratio_makes_value_and_gradient_those_of_the_true_divergence(estimator):
    """Over every token of a vocabulary of three, each as often as the old policy samples it."""
    logits = torch.tensor([0.5, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
    old, other = (torch.tensor(p, dtype=torch.float64).log() for p in ([0.2, 0.5, 0.3], [0.3, 0.3, 0.4]))
    policy = logits.log_softmax(0)
    true = (policy.exp() * (policy - other)).sum()
    tokens = TokenBatch(
        policy_logprobs_T=policy,
        old_logprobs_T=old,
        rollout_logprobs_T=old,
        advantages_T=torch.zeros(3, dtype=torch.float64),
        rows_T=torch.zeros(3, dtype=torch.int64),
        ref_logprobs_T=other,
    )
    loss = ClippedLoss(kl_coef=1.0, kl_estimator=estimator, kl_unbiased=True)
    sampled = (old.exp() * loss(tokens).values_T).sum()
    torch.testing.assert_close(sampled, true)
    gradients = [torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (sampled, true)]
    torch.testing.assert_close(*gradients)


def test_the_pull_to_the_reference_is_added_with_its_strength():
    with_kl = ClippedLoss(kl_coef=0.1)(batch([-1.0], [-1.0], [0.0], ref=[-2.0])).values_T
    expected = 0.1 * kl_divergence(torch.tensor([-1.0]), torch.tensor([-2.0]), "k3").double()
    torch.testing.assert_close(with_kl.detach(), expected)
    assert ClippedLoss(kl_coef=0.1).needs_reference
    assert not ClippedLoss().needs_reference


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_low": -0.1}, "clip_low must be a finite number >= 0; got -0.1"),
        ({"clip_low": 1.5}, "clip_low must be at most 1"),
        ({"clip_high": float("inf")}, "clip_high must be a finite number"),
        ({"kl_coef": -1.0}, "kl_coef must be a finite number >= 0"),
        ({"aggregation": "mean"}, "aggregation must be one of token-mean, sequence-mean, .*, dr_grpo; got 'mean'"),
        ({"kl_coef": 0.1, "kl_estimator": "k4"}, "kl_estimator must be one of k1, k2, k3"),
        ({"kl_estimator": "k2"}, "kl_estimator=k2 has no effect while kl_coef is 0"),
        ({"kl_unbiased": True}, "kl_unbiased has no effect while kl_coef is 0"),
        ({"kl_coef": 0.1, "kl_unbiased": True, "kl_estimator": "k2"}, "kl_unbiased is for k1 and k3"),
        ({"delta": 1.2}, r"delta bounds ratios beyond the clip, so it must be above 1 \+ clip_high = 1.2; got 1.2"),
        ({"off_policy_threshold": 0.0}, "off_policy_threshold must be a finite number > 0; got 0.0"),
        ({"top_entropy": 0.0}, "top_entropy must be a share above 0 and at most 1; got 0.0"),
        ({"top_entropy": 1.5}, "top_entropy must be a share above 0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        ClippedLoss(**options)


def test_kl_old_is_zero_on_policy_and_grows_with_the_update():
    on_policy = ClippedLoss()(batch([-1.0], [-1.0], [1.0])).metrics["kl_old"]
    moved = ClippedLoss()(batch([-1.5], [-1.0], [1.0])).metrics["kl_old"]
    assert on_policy.tolist() == [0.0]
    assert moved.item() > 0
