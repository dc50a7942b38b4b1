"""The kit is worth something only if it catches what is wrong: each estimator below has one known fault."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from morl.advantage import GDPO, GRPO, GRPONoStd
from morl.errors import ConfigError
from morl.testing import (
    ALWAYS,
    CLAIMS,
    LawBroken,
    check_advantage_estimator,
    check_optimizer,
    check_policy_loss,
    check_reward_provider,
    check_schedule,
    check_weighting,
)
from morl.types import Advantages, Completion, Prompt, RewardMatrix


def advantages(values_B: Tensor, rewards: RewardMatrix) -> Advantages:
    """Splits an advantage evenly over the rewards that are there."""
    shares = rewards.valid_BK / rewards.valid_BK.sum(1, keepdim=True).clamp(min=1)
    return Advantages(values_B, (values_B[:, None] * shares).to(values_B.dtype))


def batch_statistics_per_chunk(rewards: RewardMatrix) -> Advantages:
    before = GDPO(batch_norm=False)(rewards).values_B
    after = torch.cat([part / (part.square().mean().sqrt() + 1e-6) for part in torch.split(before, 4)])
    return advantages(after, rewards)


def noise_amplified(rewards: RewardMatrix) -> Advantages:
    """What most libraries do: naive means in the dtype of the rewards, std + eps, whitening of the result."""
    totals = torch.where(rewards.valid_BK, rewards.values_BK, 0.0).sum(1)
    centred = totals.clone()
    for group in set(rewards.group_ids_B.tolist()):
        rows = rewards.group_ids_B == group
        deviations = totals[rows] - totals[rows].sum() / rows.sum()
        centred[rows] = deviations / (deviations.square().mean().sqrt() + 1e-8)
    return advantages(centred, rewards)


def nan_leaks(rewards: RewardMatrix) -> Advantages:
    centred = rewards.values_BK.sum(1)
    return advantages(centred - centred.mean(), rewards)


def missing_is_zero(rewards: RewardMatrix) -> Advantages:
    values = torch.where(rewards.valid_BK, rewards.values_BK, 0.0)
    return GRPONoStd()(RewardMatrix(values, rewards.group_ids_B, rewards.names, rewards.weights))


def mask_ignored(rewards: RewardMatrix) -> Advantages:
    return GRPONoStd()(RewardMatrix(rewards.values_BK, rewards.group_ids_B, rewards.names, rewards.weights))


def baseline_of_the_row_before(rewards: RewardMatrix) -> Advantages:
    values = GRPONoStd()(rewards).values_B
    return advantages(values + 0.5 * values.roll(1), rewards)


def first_rows_favoured(rewards: RewardMatrix) -> Advantages:
    values = GRPONoStd()(rewards).values_B
    return advantages(values * torch.linspace(1, 2, len(values), dtype=values.dtype), rewards)


def group_ids_are_numbers(rewards: RewardMatrix) -> Advantages:
    values = GRPONoStd()(rewards).values_B
    return advantages(values * (1 + rewards.group_ids_B % 3), rewards)


def overflows(rewards: RewardMatrix) -> Advantages:
    values = torch.where(rewards.valid_BK, rewards.values_BK, 0.0).sum(1)
    return advantages(values * values.square(), rewards)


def wrong_dtype(rewards: RewardMatrix) -> Advantages:
    answer = GRPONoStd()(rewards)
    return Advantages(answer.values_B.double(), answer.contributions_BK.double())


def contributions_do_not_add_up(rewards: RewardMatrix) -> Advantages:
    answer = GRPONoStd()(rewards)
    return Advantages(answer.values_B, answer.contributions_BK * 0.5)


def writes_to_its_input(rewards: RewardMatrix) -> Advantages:
    answer = GRPONoStd()(rewards)
    rewards.values_BK.add_(1)
    return answer


def raises_on_small_groups(rewards: RewardMatrix) -> Advantages:
    if len(rewards.values_BK) == 1:
        raise ZeroDivisionError("G - 1 = 0")
    return GRPONoStd()(rewards)


def counter() -> Callable[[RewardMatrix], Advantages]:
    calls = 0

    def estimator(rewards: RewardMatrix) -> Advantages:
        nonlocal calls
        calls += 1
        answer = GRPONoStd()(rewards)
        return Advantages(answer.values_B * calls, answer.contributions_BK * calls)

    return estimator


def token_advantages(rewards: RewardMatrix, values_BT: Tensor) -> Advantages:
    answer = GRPONoStd()(rewards)
    return Advantages(answer.values_B, answer.contributions_BK, values_BT)


def later_turns_count(rewards: RewardMatrix) -> Advantages:
    """A right one: the second turn of a completion bears twice its advantage, and elsewhere stands what is not read."""
    values_BT = torch.full(rewards.sampled_mask_BT.shape, torch.nan, dtype=torch.float64)
    for row, spans in enumerate(rewards.spans or ()):
        for number, (start, end) in enumerate(spans, 1):
            values_BT[row, start:end] = number * GRPONoStd()(rewards).values_B[row].double()
    return token_advantages(rewards, values_BT)


def tokens_of_another_shape(rewards: RewardMatrix) -> Advantages:
    return token_advantages(rewards, torch.zeros(len(rewards.values_BK), 12))


def tokens_without_number(rewards: RewardMatrix) -> Advantages:
    return token_advantages(rewards, torch.full(rewards.sampled_mask_BT.shape, torch.nan))


def tokens_by_row(rewards: RewardMatrix) -> Advantages:
    B, T = rewards.sampled_mask_BT.shape
    return token_advantages(rewards, torch.arange(B).double().unsqueeze(1).expand(B, T))


def test_advantages_of_tokens_pass_where_they_are_right() -> None:
    check_advantage_estimator(lambda: later_turns_count)


@pytest.mark.parametrize(
    ("estimator", "laws"),
    [
        (batch_statistics_per_chunk, {"order", "shards"}),
        (noise_amplified, {"no-spread"}),
        (nan_leaks, {"finite"}),
        (missing_is_zero, {"contributions", "abstained"}),
        (mask_ignored, {"missing"}),
        (baseline_of_the_row_before, {"order", "shards"}),
        (first_rows_favoured, {"order", "shards"}),
        (group_ids_are_numbers, {"labels"}),
        (overflows, {"finite"}),
        (wrong_dtype, {"form"}),
        (contributions_do_not_add_up, {"contributions"}),
        (writes_to_its_input, {"pure"}),
        (raises_on_small_groups, {"form"}),
        (tokens_of_another_shape, {"tokens"}),
        (tokens_without_number, {"tokens"}),
        (tokens_by_row, {"tokens"}),
    ],
)
def test_a_faulty_estimator_is_caught_by_name(estimator: Callable[[RewardMatrix], Advantages], laws: set[str]) -> None:
    """Each law that should catch it does, also with the others switched off."""
    for law in laws:
        with pytest.raises(LawBroken, match=f"breaks the law {law!r}"):
            check_advantage_estimator(lambda: estimator, without=set(ALWAYS) - {law})


def test_an_estimator_with_memory_is_caught() -> None:
    with pytest.raises(LawBroken, match="'pure'"):
        check_advantage_estimator(counter, without=set(ALWAYS) - {"pure"})


@pytest.mark.parametrize(
    ("estimator", "claim"),
    [
        (lambda rewards: advantages(GRPONoStd()(rewards).values_B.abs(), rewards), "zero-mean"),
        (GRPONoStd(), "unit-deviation"),
        (GDPO(batch_norm=False), "unit-batch-deviation"),
        (lambda rewards: advantages(torch.nan_to_num(rewards.values_BK).sum(1), rewards), "shift"),
        (GRPONoStd(), "scale"),
        (GRPO(eps=0), "scale-each"),
        (lambda rewards: advantages(torch.nan_to_num(rewards.values_BK).mean(1), rewards), "dead-reward"),
        (lambda rewards: advantages(torch.zeros_like(rewards.values_BK[:, 0]), rewards), "rounding"),
        (GDPO(eps=0), "local"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_false_claim_is_caught(estimator: Callable[[RewardMatrix], Advantages], claim: str) -> None:
    with pytest.raises(LawBroken, match=f"breaks the law {claim!r}"):
        check_advantage_estimator(lambda: estimator, claims=[claim], without=ALWAYS)


def test_every_claim_is_tried_above() -> None:
    assert set(CLAIMS) == {
        "zero-mean", "unit-deviation", "unit-batch-deviation", "shift", "scale", "scale-each", "dead-reward",
        "rounding", "local",
    }  # fmt: skip


def test_the_message_names_the_law_and_shows_the_example() -> None:
    with pytest.raises(LawBroken) as caught:
        check_advantage_estimator(lambda: wrong_dtype, without=set(ALWAYS) - {"form"})
    message = str(caught.value)
    assert "wrong_dtype" in message
    assert ALWAYS["form"].statement in message
    assert "expected (1,) torch.float32, got (1,) torch.float64" in message
    assert "group  r0 (weight 1.0)" in message


def test_an_unknown_law_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown law 'scale-ech'; did you mean 'scale-each'\?; there are: zero-mean"
    ):
        check_advantage_estimator(GRPO, claims=["scale-ech"])
    with pytest.raises(ConfigError, match="unknown law 'zero-mean'; there are: form"):
        check_advantage_estimator(GRPO, without=["zero-mean"])


@pytest.mark.parametrize(
    ("check", "arguments"),
    [
        (check_weighting, ()),
        (check_reward_provider, ([Completion(Prompt("Say it."), text, (1,)) for text in ("yes", "")],)),
        (check_policy_loss, ()),
        (check_optimizer, ()),
        (check_schedule, ()),
    ],
)
def test_an_unknown_law_is_refused_by_the_other_kits(check, arguments):
    with pytest.raises(ConfigError, match="unknown law 'pur'"):
        check(object, *arguments, without=["pur"])
