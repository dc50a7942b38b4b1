"""Packed and padded forwards agree with each row computed by itself, in values and gradients, for every family."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from morl.policy.model import PolicyModel

LOGPROBS = 1e-4
"""Of float32 log-probabilities by another way through the model; see "Limits for rounding" in CONTRIBUTING.md."""

Batch = tuple[list[list[int]], Tensor, Tensor, Tensor]
MakeModel = Callable[..., PreTrainedModel]
OneByOne = Callable[..., Tensor]


def gradients(model: nn.Module, logprobs_T: Tensor) -> dict[str, Tensor]:
    """Of a sum with random weights, so that no token's gradient can hide behind another's."""
    model.zero_grad()
    weights = torch.randn(logprobs_T.shape, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward((logprobs_T * weights).sum())
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def saved_elements(forward: Callable[[], object]) -> int:
    """Elements of all tensors that a forward keeps for backward."""
    saved = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal saved
        saved += tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        forward()
    return saved


def assert_agree(policy: PolicyModel, reference: PreTrainedModel, batch: Batch, one_by_one: OneByOne) -> None:
    expected = one_by_one(reference, *batch, temperature=0.7)
    got = policy(policy.make_plan(*batch, temperature=0.7), entropy=True)
    torch.testing.assert_close(got.logprobs_T, expected, atol=LOGPROBS, rtol=0)
    expected_grads, got_grads = gradients(reference, expected), gradients(policy.model, got.logprobs_T)
    assert got_grads.keys() == expected_grads.keys()
    for name, grad in expected_grads.items():
        assert (got_grads[name] - grad).norm() <= LOGPROBS * grad.norm(), name


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_agrees_with_rows_one_by_one(
    family: str, packed: bool, make_model: MakeModel, batch: Batch, one_by_one: OneByOne
) -> None:
    assert_agree(PolicyModel(make_model(family), packed), make_model(family), batch, one_by_one)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_completions_may_have_temperatures_of_their_own(packed: bool, make_model: MakeModel, batch: Batch) -> None:
    """Log-probabilities, entropies and gradients are those of passes that have one temperature each."""
    of_prompt = torch.tensor([0.5, 1.0, 1.7, 0.0])[torch.arange(len(batch[0])) % 4]
    each_B = of_prompt[batch[1]]
    policy, model = PolicyModel(make_model("llama"), packed), make_model("llama")
    got = policy(policy.make_plan(*batch, temperature=each_B), entropy=True)
    alone = PolicyModel(model, packed)
    rows = torch.arange(len(each_B)).repeat_interleave(batch[3].sum(1))
    logprobs, entropies = torch.zeros(len(rows)), torch.zeros(len(rows))
    for temperature in of_prompt.unique().tolist():
        found = alone(alone.make_plan(*batch, temperature=temperature), entropy=True)
        mine = each_B[rows] == temperature
        logprobs = logprobs + torch.where(mine, found.logprobs_T, 0.0)
        entropies = entropies + torch.where(mine, found.entropy_T, 0.0)
    torch.testing.assert_close(got.logprobs_T, logprobs, atol=LOGPROBS, rtol=0)
    torch.testing.assert_close(got.entropy_T, entropies, atol=LOGPROBS, rtol=0)
    expected = gradients(model, logprobs + 0.3 * entropies)
    for name, grad in gradients(policy.model, got.logprobs_T + 0.3 * got.entropy_T).items():
        assert (grad - expected[name]).norm() <= LOGPROBS * expected[name].norm(), name


def foreign(batch: Batch) -> Tensor:
    """A mask of sampled tokens: a third of the tokens is foreign, first and last ones, and one completion entirely."""
    mask = batch[3]
    sampled = mask & (torch.rand(mask.shape, generator=torch.Generator().manual_seed(3)) < 0.66)
    sampled[0, 0], sampled[3, :2], sampled[5, -3:], sampled[9] = True, False, False, False
    return sampled


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_foreign_tokens_are_read_and_not_asked_for(
    family: str, packed: bool, make_model: MakeModel, batch: Batch, one_by_one: OneByOne
) -> None:
    """Log-probabilities of the sampled ones, and their gradients, are those in the whole sequence."""
    sampled, mask = foreign(batch), batch[3]
    reference, policy = make_model(family), PolicyModel(make_model(family), packed)
    expected = one_by_one(reference, *batch, temperature=0.7)[sampled[mask]]
    plan = policy.make_plan(*batch, temperature=0.7, sampled_mask_BT=sampled)
    got = policy(plan).logprobs_T
    assert plan.targets_T.tolist() == batch[2][sampled].tolist()
    torch.testing.assert_close(got, expected, atol=LOGPROBS, rtol=0)
    expected_grads, got_grads = gradients(reference, expected), gradients(policy.model, got)
    for name, grad in expected_grads.items():
        assert (got_grads[name] - grad).norm() <= 1e-5 * grad.norm(), name


def test_foreign_tokens_read_as_tokens_cost_no_logits(make_model: MakeModel, batch: Batch) -> None:
    """Nor is anything computed that comes after the last sampled token of a completion."""
    prompts, groups, ids, mask = batch
    sampled = torch.zeros_like(mask)
    sampled[3, 4] = True
    for packed, tokens in ((True, len(prompts[0]) + 4), (False, len(prompts[0]) + 5)):
        plan = PolicyModel(make_model("llama"), packed).make_plan(prompts, groups, ids, mask, 1.0, sampled)
        assert plan.input_ids_RS.shape == (1, tokens)
        assert len(plan.kept) == len(plan.targets_T) == 1


def test_padding_serves_models_without_replaceable_attention(
    unpackable: str, make_model: MakeModel, batch: Batch, one_by_one: OneByOne
) -> None:
    assert_agree(PolicyModel(make_model(unpackable), packed=False), make_model(unpackable), batch, one_by_one)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_entropy_is_that_of_the_distribution_each_token_was_drawn_from(
    packed: bool, make_model: MakeModel, batch: Batch
) -> None:
    policy = PolicyModel(make_model("qwen2"), packed)
    prompts, groups, ids, mask = batch
    entropy_T = policy(policy.make_plan(*batch), entropy=True).entropy_T
    row = 3
    sequence = torch.tensor([prompts[groups[row]] + ids[row, mask[row]].tolist()])
    logits = make_model("qwen2")(input_ids=sequence).logits[0, len(prompts[groups[row]]) - 1 : -1]
    first = int(mask[:row].sum())
    expected = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)
    torch.testing.assert_close(entropy_T[first : first + len(expected)], expected, atol=LOGPROBS, rtol=0)
    assert policy(policy.make_plan(*batch)).entropy_T is None


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_temperature_0_counts_as_1(packed: bool, make_model: MakeModel, batch: Batch) -> None:
    policy = PolicyModel(make_model("llama"), packed)
    plans = [policy.make_plan(*batch, temperature=temperature) for temperature in (0.0, 1.0)]
    torch.testing.assert_close(*(policy(plan).logprobs_T for plan in plans), atol=0, rtol=0)


def test_packing_computes_each_used_prompt_once_and_no_padding(make_model: MakeModel, batch: Batch) -> None:
    prompts, groups, _, mask = batch
    plan = PolicyModel(make_model("llama"), packed=True).make_plan(*batch)
    lengths = mask.sum(1)
    used = {int(group) for group, length in zip(groups, lengths, strict=True) if length}
    # Nobody asks what follows a completion's last token.
    expected = sum(len(prompts[group]) for group in used) + int((lengths - 1).clamp(min=0).sum())
    assert plan.input_ids_RS.shape == (1, expected)
    assert len(plan.kept) == len(used) + int((lengths - 1).clamp(min=0).sum())


def test_rows_do_not_depend_on_each_other(make_model: MakeModel, batch: Batch) -> None:
    policy = PolicyModel(make_model("qwen2"), packed=True)
    prompts, groups, ids, mask = batch
    whole = policy(policy.make_plan(*batch)).logprobs_T
    rows_T = mask.nonzero()[:, 0]
    order = torch.tensor([8, 3, 9, 1])
    part = policy(policy.make_plan(prompts, groups[order], ids[order], mask[order])).logprobs_T
    torch.testing.assert_close(part, torch.cat([whole[rows_T == row] for row in order]), atol=LOGPROBS, rtol=0)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("rows", [0, 2])
def test_a_batch_without_tokens_still_reaches_every_parameter(packed: bool, rows: int, make_model: MakeModel) -> None:
    """In a sharded run the other ranks wait for this one's collectives."""
    policy = PolicyModel(make_model("llama"), packed)
    groups = torch.zeros(rows, dtype=torch.int64)
    ids = torch.zeros(rows, 4, dtype=torch.int64)
    logprobs_T = policy(policy.make_plan([[5, 6], [7]], groups, ids, ids.bool())).logprobs_T
    assert logprobs_T.shape == (0,)
    torch.autograd.backward(logprobs_T.sum())
    assert all(p.grad is not None and not p.grad.any() for p in policy.parameters())


def test_bfloat16_weights(make_model: MakeModel, batch: Batch, one_by_one: OneByOne) -> None:
    model = make_model("qwen2").bfloat16()
    expected = one_by_one(model, *batch)
    for packed in (True, False):
        policy = PolicyModel(copy.deepcopy(model), packed)
        got = policy(policy.make_plan(*batch)).logprobs_T
        assert got.dtype == torch.float32
        assert (got - expected).abs().mean() < 0.03
        torch.autograd.backward(got.sum())


@pytest.mark.parametrize("family_name", ["qwen2", "gemma2"])
def test_autocast(family_name: str, make_model: MakeModel, batch: Batch, one_by_one: OneByOne) -> None:
    expected = one_by_one(make_model(family_name), *batch)
    for packed in (True, False):
        policy = PolicyModel(make_model(family_name), packed)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = policy(policy.make_plan(*batch)).logprobs_T
        assert (got - expected).abs().mean() < 0.05
        grads = gradients(policy, got)
        assert all(grad.dtype == torch.float32 and grad.isfinite().all() for grad in grads.values())


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("family_name", ["qwen2", "gemma3", "gpt2"])
def test_gradient_checkpointing_changes_nothing(
    family_name: str, packed: bool, make_model: MakeModel, batch: Batch
) -> None:
    policy = PolicyModel(make_model(family_name), packed)
    plan = policy.make_plan(*batch)
    expected = gradients(policy, policy(plan).logprobs_T)
    policy.base_model.gradient_checkpointing_enable({"use_reentrant": False})
    policy.train()
    got = gradients(policy, policy(plan).logprobs_T)
    for name, grad in expected.items():
        torch.testing.assert_close(got[name], grad, atol=1e-5, rtol=LOGPROBS)
    with_checkpoints = saved_elements(lambda: policy(plan))
    policy.base_model.gradient_checkpointing_disable()
    assert with_checkpoints < 0.5 * saved_elements(lambda: policy(plan))


def test_dropout_is_off_in_training_mode(make_model: MakeModel, batch: Batch) -> None:
    model = make_model("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    for packed in (False, True):
        policy = PolicyModel(model, packed).train()
        first, second = (policy(policy.make_plan(*batch)).logprobs_T for _ in range(2))
        assert torch.equal(first, second)
    model = make_model("llama", attention_dropout=0.5)
    policy = PolicyModel(model, packed=True).train()
    first, second = (policy(policy.make_plan(*batch)).logprobs_T for _ in range(2))
    assert torch.equal(first, second)
    assert model.config.attention_dropout == 0.5


def test_runs_without_gradient_and_leaves_the_random_state_alone(make_model: MakeModel, batch: Batch) -> None:
    policy = PolicyModel(make_model("llama"), packed=True)
    plan = policy.make_plan(*batch)
    before = torch.get_rng_state()
    with torch.no_grad():
        without = policy(plan).logprobs_T
    torch.testing.assert_close(without, policy(plan).logprobs_T.detach(), atol=0, rtol=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_models_that_cannot_choose_logits_are_served(
    make_model: MakeModel, batch: Batch, one_by_one: OneByOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = one_by_one(make_model("llama"), *batch)
    model = make_model("llama")
    whole = type(model).forward

    def forward(self: PreTrainedModel, input_ids: Tensor, **kwargs: object) -> object:
        assert "logits_to_keep" not in kwargs
        return whole(self, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(type(model), "forward", forward)
    for packed in (False, True):
        policy = PolicyModel(model, packed)
        torch.testing.assert_close(policy(policy.make_plan(*batch)).logprobs_T, expected, atol=LOGPROBS, rtol=0)


def test_plans_move(make_model: MakeModel, batch: Batch) -> None:
    plan = PolicyModel(make_model("llama"), packed=True).make_plan(*batch).to("meta")
    assert {plan.input_ids_RS.device.type, plan.kept.device.type, plan.targets_T.device.type} == {"meta"}


GROUPS = torch.tensor([0, 1])
IDS = torch.tensor([[5, 6], [7, 0]])
MASK = torch.tensor([[True, True], [True, False]])


@pytest.mark.parametrize(
    ("prompts", "groups", "ids", "mask", "message"),
    [
        ([[1], [2]], GROUPS, IDS[0], MASK, r"expected completion ids \(B, T\).*got \(2,\), \(2, 2\) and \(2,\)"),
        ([[1], [2]], GROUPS[:1], IDS, MASK, r"and \(1,\)"),
        ([[1], []], GROUPS, IDS, MASK, r"at least one token; empty: \[1\]"),
        ([], GROUPS, IDS, MASK, "empty: the list of prompts"),
        ([[1]], GROUPS, IDS, MASK, r"group ids must lie in 0..0; got 0..1"),
        ([[1], [2]], GROUPS, IDS, MASK.flip(1), "right-padded"),
    ],
)
def test_input_that_does_not_fit_is_refused(
    prompts: list[list[int]], groups: Tensor, ids: Tensor, mask: Tensor, message: str, make_model: MakeModel
) -> None:
    policy = PolicyModel(make_model("llama"), packed=True)
    with pytest.raises(ValueError, match=message):
        policy.make_plan(prompts, groups, ids, mask)


@pytest.mark.parametrize("sampled", [MASK.flip(1), MASK[:, :1]])
def test_a_mask_of_sampled_tokens_beyond_the_tokens_is_refused(sampled: Tensor, make_model: MakeModel) -> None:
    policy = PolicyModel(make_model("llama"), packed=True)
    with pytest.raises(ValueError, match=r"sampled tokens \(2, \d\) must lie within that of tokens \(2, 2\)"):
        policy.make_plan([[1], [2]], GROUPS, IDS, MASK, sampled_mask_BT=sampled)
