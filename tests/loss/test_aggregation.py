from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from morl.loss import token_weights

lengths = st.lists(st.integers(0, 50), min_size=1, max_size=12).map(torch.tensor)
AGGREGATIONS = ("token-mean", "sequence-mean", "sequence-sum", "dr-grpo")


@given(lengths)
def test_token_mean_weighs_every_token_alike(lengths_B):
    weights = token_weights(lengths_B, "token-mean", 50)
    assert len(set(weights.tolist())) == 1
    if lengths_B.sum() > 0:
        assert float((weights * lengths_B).sum()) == pytest.approx(1.0)


@given(lengths)
def test_sequence_mean_weighs_every_completion_with_tokens_alike(lengths_B):
    shares = token_weights(lengths_B, "sequence-mean", 50) * lengths_B
    expected = (lengths_B > 0).double() / max(int((lengths_B > 0).sum()), 1)
    torch.testing.assert_close(shares, expected)


@given(lengths)
def test_sequence_sum_weighs_a_completion_by_its_length(lengths_B):
    weights = token_weights(lengths_B, "sequence-sum", 50)
    torch.testing.assert_close(weights, token_weights(lengths_B, "sequence-mean", 50) * lengths_B.clamp(min=1))


@pytest.mark.parametrize(
    ("alias", "name"),
    [("dapo", "token-mean"), ("bnpo", "token-mean"), ("grpo", "sequence-mean"), ("dr_grpo", "dr-grpo")],
)
def test_names_of_the_field_mean_the_same(alias, name):
    lengths_B = torch.tensor([3, 0, 5])
    assert torch.equal(token_weights(lengths_B, alias, 8), token_weights(lengths_B, name, 8))


def test_a_function_weighs_as_it_likes():
    answer = token_weights(torch.tensor([1, 4]), lambda lengths_B, max_tokens: 1 / (lengths_B.sqrt() * max_tokens), 8)
    assert answer.tolist() == [0.125, 0.0625]
    assert answer.dtype == torch.float64
    for wrong in (lambda *_: 1.0, lambda lengths_B, _: lengths_B[:1], lambda lengths_B, _: lengths_B / 0):
        with pytest.raises(ValueError, match=r"the aggregation returned .*; expected a tensor \(2,\) of finite"):
            token_weights(torch.tensor([1, 4]), wrong, 8)


@given(lengths)
def test_dr_grpo_does_not_look_at_lengths(lengths_B):
    weights = token_weights(lengths_B, "dr-grpo", 50)
    torch.testing.assert_close(weights, token_weights(torch.ones_like(lengths_B), "dr-grpo", 50))


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_weights_of_a_mini_batch_do_not_depend_on_how_it_is_cut(aggregation):
    lengths_B, losses_B = torch.tensor([3, 1, 4, 1]), torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
    weights = token_weights(lengths_B, aggregation, 8)
    whole = (weights * lengths_B * losses_B).sum()
    parts = sum((weights * lengths_B * losses_B)[rows].sum() for rows in ([0], [1, 2], [3]))
    torch.testing.assert_close(whole, parts)
