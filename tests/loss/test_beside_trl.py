"""Losses and gradients of TRL's own trainer, on the same log-probabilities."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from morl.loss import CISPOLoss, ClippedLoss, GSPOLoss, LUSPOLoss, SAPOLoss, VESPOLoss, token_weights
from morl.runtime.exchange import Exchange
from morl.training.losses import top_entropy
from morl.types import TokenBatch

trl = pytest.importorskip("trl", reason="TRL is not installed: pip install 'morl-llm[trl]'")

LENGTHS, MAX_TOKENS = (3, 6, 1, 5, 4, 2), 6
MASK = torch.arange(MAX_TOKENS) < torch.tensor(LENGTHS)[:, None]
DEFAULTS = {
    "epsilon": 0.2,
    "epsilon_high": None,
    "delta": None,
    "beta": 0.0,
    "use_bias_correction_kl": False,
    "importance_sampling_level": "token",
    "off_policy_mask_threshold": None,
    "top_entropy_quantile": 1.0,
    "sapo_temperature_pos": 1.0,
    "sapo_temperature_neg": 1.05,
    "vespo_k_pos": 2.0,
    "vespo_lambda_pos": 3.0,
    "vespo_k_neg": 3.0,
    "vespo_lambda_neg": 2.0,
}


def tensors(spread):
    random = torch.Generator().manual_seed(4)
    old = -3 * torch.rand(MASK.shape, generator=random, dtype=torch.float64) - 0.1
    now = old + spread * torch.randn(MASK.shape, generator=random, dtype=torch.float64)
    ref = old + 0.3 * torch.randn(MASK.shape, generator=random, dtype=torch.float64)
    entropy = 2 * torch.rand(MASK.shape, generator=random, dtype=torch.float64)
    advantages = torch.tensor([1.0, -0.5, -1.5, 0.8, -0.3, 0.0], dtype=torch.float64)
    return SimpleNamespace(now=now, old=old, ref=ref, entropy=entropy, advantages=advantages)


def theirs(given, **options):
    """Loss and gradient of the policy's log-probabilities (B, T), by GRPOTrainer's `_compute_loss`."""
    args = {**DEFAULTS, **options}
    high = args["epsilon"] if args["epsilon_high"] is None else args["epsilon_high"]
    now = given.now.clone().requires_grad_()
    trainer = SimpleNamespace(
        **{name: value for name, value in args.items() if name not in ("epsilon", "epsilon_high")},
        epsilon_low=args["epsilon"],
        epsilon_high=high,
        args=SimpleNamespace(**args, steps_per_generation=1),
        accelerator=SimpleNamespace(
            num_processes=1,
            gather=lambda values: values,
            reduce=lambda values, **_: values,
            pad_across_processes=lambda values, **_: values,
        ),
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        use_vllm=False,
        vllm_importance_sampling_correction=False,
        current_gradient_accumulation_steps=1,
        max_completion_length=MAX_TOKENS,
        entropy_coef=args.get("entropy_coef", 0.0),
        use_adaptive_entropy=False,
        _entropy_bonus_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _get_per_token_logps_and_entropies=lambda *_, **__: (now, given.entropy, None),
    )
    trainer.get_high_entropy_mask = trl.GRPOTrainer.get_high_entropy_mask.__get__(trainer)
    trainer.get_off_policy_mask = trl.GRPOTrainer.get_off_policy_mask
    trainer.get_gamma_weights = trl.GRPOTrainer.get_gamma_weights
    ids = torch.zeros(MASK.shape, dtype=torch.int64)
    inputs = {
        "prompt_ids": ids,
        "prompt_mask": MASK.int(),
        "completion_ids": ids,
        "completion_mask": MASK.int(),
        "advantages": given.advantages,
        "old_per_token_logps": given.old,
        "ref_per_token_logps": given.ref,
        "num_items_in_batch": MASK.sum(),
    }
    loss = trl.GRPOTrainer._compute_loss(trainer, None, inputs)
    loss.backward()
    return loss.detach(), now.grad


def ours(given, loss):
    now = given.now.clone().requires_grad_()
    lengths = torch.tensor(LENGTHS)
    share = loss.top_entropy
    top = None if share == 1 else top_entropy(given.entropy, MASK, share, Exchange())[0][MASK]
    batch = TokenBatch(
        policy_logprobs_T=now[MASK],
        old_logprobs_T=given.old[MASK],
        rollout_logprobs_T=given.old[MASK],
        advantages_T=given.advantages.repeat_interleave(lengths),
        rows_T=torch.arange(len(LENGTHS)).repeat_interleave(lengths),
        ref_logprobs_T=given.ref[MASK] if loss.needs_reference else None,
        entropy_T=given.entropy[MASK],
        lengths_B=lengths,
        top_entropy_T=top,
    )
    weights = token_weights(lengths, loss.aggregation, MAX_TOKENS).repeat_interleave(lengths)
    total = (loss(batch).values_T * weights).sum()
    total.backward()
    return total.detach(), now.grad


SEQUENCE = {"importance_sampling_level": "sequence"}
CASES = {
    "dapo": (ClippedLoss(clip_high=0.28), {"loss_type": "dapo", "epsilon_high": 0.28}),
    "grpo": (ClippedLoss(aggregation="grpo"), {"loss_type": "grpo"}),
    "bnpo": (ClippedLoss(aggregation="bnpo", clip_low=0.1), {"loss_type": "bnpo", "epsilon": 0.1}),
    "dr_grpo": (ClippedLoss(aggregation="dr_grpo"), {"loss_type": "dr_grpo"}),
    "delta": (ClippedLoss(delta=1.3), {"loss_type": "dapo", "delta": 1.3}),
    "k3": (ClippedLoss(kl_coef=0.3), {"loss_type": "dapo", "beta": 0.3}),
    "unbiased": (
        ClippedLoss(kl_coef=0.3, kl_unbiased=True, aggregation="sequence-mean"),
        {"loss_type": "grpo", "beta": 0.3, "use_bias_correction_kl": True},
    ),
    "off-policy": (
        ClippedLoss(off_policy_threshold=0.05, kl_coef=0.1),
        {"loss_type": "dapo", "off_policy_mask_threshold": 0.05, "beta": 0.1},
    ),
    "top-entropy": (ClippedLoss(top_entropy=0.3), {"loss_type": "dapo", "top_entropy_quantile": 0.3}),
    "gspo": (
        GSPOLoss(clip_low=0.03, clip_high=0.04),
        {"loss_type": "grpo", "epsilon": 0.03, "epsilon_high": 0.04, **SEQUENCE},
    ),
    "luspo": (LUSPOLoss(clip_low=0.1, clip_high=None), {"loss_type": "luspo", "epsilon": 0.1, **SEQUENCE}),
    "cispo": (CISPOLoss(max_ratio=1.2), {"loss_type": "cispo", "epsilon_high": 1.2}),
    "sapo": (
        SAPOLoss(temperature_positive=2.0, temperature_negative=3.0),
        {"loss_type": "sapo", "sapo_temperature_pos": 2.0, "sapo_temperature_neg": 3.0},
    ),
    "vespo": (VESPOLoss(), {"loss_type": "vespo"}),
    "vespo-options": (
        VESPOLoss(k_positive=1.5, lambda_positive=1.0, k_negative=2.5, lambda_negative=0.5),
        {
            "loss_type": "vespo",
            "vespo_k_pos": 1.5,
            "vespo_lambda_pos": 1.0,
            "vespo_k_neg": 2.5,
            "vespo_lambda_neg": 0.5,
        },
    ),
}


@pytest.mark.parametrize("spread", [0.0, 0.3])
@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_those_of_trl(name, spread):
    loss, options = CASES[name]
    given = tensors(spread)
    (their_loss, their_gradient), (our_loss, our_gradient) = theirs(given, **options), ours(given, loss)
    assert their_gradient.any()
    # TRL computes some of it in float32, which rounds by 2^-24: 2e-7 are seen.  Others differ by 1e-3, see below.
    torch.testing.assert_close(our_loss, their_loss, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-5, atol=1e-7)


def test_the_cases_tell_apart():
    """Each option has an effect on these tensors, so that agreeing says something."""
    given = tensors(0.3)
    gradients = {name: ours(given, loss)[1] for name, (loss, _) in CASES.items()}
    names = [*gradients]
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            assert not torch.allclose(gradients[first], gradients[second], rtol=1e-3), (first, second)
