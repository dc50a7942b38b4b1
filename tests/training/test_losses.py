"""What is asked of anybody's loss besides its losses: weights of tokens, and which tokens it wants to know."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from morl import train
from morl.config.load import parse
from morl.errors import PluginError
from morl.loss import ClippedLoss
from morl.plugins import Registry
from morl.runtime.exchange import Exchange
from morl.runtime.parts import Given, build_parts
from morl.runtime.update_checks import check_update
from morl.training.losses import ask_weights, top_entropy
from morl.types import TokenLosses


@given(st.integers(0, 2**31), st.integers(1, 60), st.floats(0.01, 1.0))
def test_as_many_tokens_are_kept_as_torchs_quantile_leaves(seed, count, share):
    entropies = torch.rand(1, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mask = torch.ones(1, count, dtype=torch.bool)
    mask[0, count // 2 :: 3] = False
    if not mask.any():
        return
    kept, number = top_entropy(entropies, mask, share, Exchange())
    # A share that is a fraction of the tokens but for rounding is that fraction.
    near = torch.quantile(entropies[mask], max(1 - share - 1e-12, 0.0))
    assert torch.equal(kept, mask & (entropies >= near))
    assert number == int(kept.sum()) >= 1


def test_of_no_tokens_none_are_kept():
    kept, number = top_entropy(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool), 0.5, Exchange())
    assert not kept.any()
    assert number == 0


class Own:
    needs_reference = False

    def aggregation(self, lengths_B, max_tokens):
        return lengths_B[:1]


def test_an_aggregation_that_gives_no_weights_is_named():
    with pytest.raises(PluginError, match=r"the policy loss Own: its aggregation failed: .* returned shape \(1,\)"):
        ask_weights(Own(), torch.tensor([1, 2]), 8)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"top_entropy": 0.0}, r"policy loss 'clipped' has top_entropy=0.0; expected a share above 0"),
        ({"top_entropy": True}, r"has top_entropy=True; expected a share"),
        ({"aggregation": "mean"}, r"asks for the unknown aggregation 'mean'; known: token-mean, .*, or a function"),
    ],
)
def test_a_loss_that_breaks_the_contract_is_refused_before_training(settings, attributes, message):
    class Loss:
        needs_reference, aggregation = False, "token-mean"

        def __call__(self, batch):
            raise AssertionError

    loss, registry = Loss(), Registry()
    for name, value in attributes.items():
        setattr(loss, name, value)
    config = parse(settings(), registry)
    with pytest.raises(PluginError, match=message):
        check_update(config, build_parts(config, registry, Given(loss=loss)))


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (lambda values: values.detach(), "without a gradient; they must be computed from TokenBatch.policy_logprobs_T"),
        (lambda values: values.detach().long(), "of type torch.int64; expected real numbers"),
        (lambda values: values + 0j, "of type torch.complex64; expected real numbers"),
    ],
    ids=["detached", "integers", "complex"],
)
def test_losses_that_teach_nothing_are_refused_before_the_backward_pass(settings, answer, fault):
    class Loss(ClippedLoss):
        def __call__(self, batch):
            return TokenLosses(answer(super().__call__(batch).values_T))

    with pytest.raises(PluginError, match=rf"^loss \(Loss, passed in\) returned values_T {fault}"):
        train(settings({"training.steps": 1}), loss=Loss())


def test_a_part_that_exits_does_not_end_the_run_as_if_it_had_finished(settings):
    class Loss(ClippedLoss):
        def __call__(self, batch):
            sys.exit(0)

    with pytest.raises(PluginError, match=r"^loss \(Loss, passed in\) failed: SystemExit: 0"):
        train(settings({"training.steps": 1}), loss=Loss())
