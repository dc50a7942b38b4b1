"""The data that travels between the rooms: what is refused, and that rows keep together."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from attrs import evolve

from morl.errors import ConfigError, RewardError
from morl.types import (
    Completion,
    CompletionStatus,
    EncodedPrompt,
    Prompt,
    RewardMatrix,
    RolloutBatch,
    Sampling,
    Turn,
)

NAN, INF = float("nan"), float("inf")


# Reward matrices -----------------------------------------------------------------------------------------------------


def reward_matrix(**changes: Any) -> RewardMatrix:
    given: dict[str, Any] = {
        "values_BK": torch.tensor([[0.0, 1.0], [1.0, NAN], [0.5, 0.0]]),
        "group_ids_B": torch.tensor([4, 4, 9]),
        "names": ("format", "correct"),
    }
    return RewardMatrix(**given | changes)


def test_nan_is_missing() -> None:
    assert reward_matrix().valid_BK.tolist() == [[True, True], [True, False], [True, True]]


def test_nan_is_missing_whatever_the_mask_says() -> None:
    mask = torch.tensor([[True, False], [True, True], [True, True]])
    assert reward_matrix(valid_BK=mask).valid_BK.tolist() == [[True, False], [True, False], [True, True]]
    assert mask.all(0).tolist() == [True, False], "the caller's mask is not written to"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values_BK": torch.zeros(3)}, r"rewards must be a float tensor \(B, K\), K >= 1; got \(3,\) torch.float32"),
        ({"values_BK": torch.zeros(3, 0)}, r"rewards must be a float tensor .* got \(3, 0\)"),
        ({"values_BK": torch.zeros(3, 2, dtype=torch.int64)}, r"rewards must be a float tensor .* torch.int64"),
        ({"group_ids_B": torch.tensor([0, 1])}, r"group_ids must be 3 integers; got \(2,\) torch.int64"),
        ({"group_ids_B": torch.zeros(3)}, r"group_ids must be 3 integers; got \(3,\) torch.float32"),
        ({"valid_BK": torch.ones(3, dtype=torch.bool)}, r"valid must be a bool tensor \(3, 2\); got \(3,\) torch.bool"),
        ({"valid_BK": torch.ones(3, 2)}, r"valid must be a bool tensor \(3, 2\); got \(3, 2\) torch.float32"),
        ({"lengths_B": torch.tensor([1, 2])}, r"lengths must be 3 integers; got \(2,\)"),
        ({"names": ("format",)}, r"expected 2 distinct reward names, one per column; got \['format'\]"),
        ({"names": ("format", "format")}, r"expected 2 distinct reward names, .* got \['format', 'format'\]"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reward_matrix(**changes)


def test_a_weight_for_an_unknown_reward_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"weight for unknown reward 'corect'; did you mean 'correct'\?; rewards: format, correct"
    ):
        reward_matrix(weights={"corect": 1.0})


@pytest.mark.parametrize("weight", [NAN, INF, -INF])
def test_a_weight_must_be_finite(weight: float) -> None:
    with pytest.raises(ConfigError, match=f"the weight of reward 'format' must be finite; got {weight}"):
        reward_matrix(weights={"format": weight})


@pytest.mark.parametrize("value", [INF, -INF])
def test_an_infinite_reward_is_refused_by_name(value: float) -> None:
    values = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.5, value]])
    with pytest.raises(RewardError, match=f"reward 'correct' of completion 2 is {value}; rewards must be finite"):
        reward_matrix(values_BK=values)
    assert reward_matrix(values_BK=values, valid_BK=values.isfinite()).valid_BK.sum() == 5


def test_weights_in_the_order_of_the_names() -> None:
    weights_K = reward_matrix(weights={"correct": 0.25}).weights_K
    assert weights_K.dtype == torch.float64
    assert weights_K.tolist() == [1.0, 0.25]
    assert reward_matrix(weights={"correct": 1e300}).weights_K.tolist() == [1.0, 1e300]


def test_groups_of_equal_size_from_one_tensor() -> None:
    values = torch.arange(12.0).view(2, 3, 2)
    matrix = RewardMatrix.from_groups(values, weights={"r1": 2.0})
    assert matrix.names == ("r0", "r1")
    assert matrix.group_ids_B.tolist() == [0, 0, 0, 1, 1, 1]
    assert matrix.values_BK.tolist() == values.reshape(6, 2).tolist()
    masked = RewardMatrix.from_groups(values, ("a", "b"), valid_PGK=values > 3)
    assert masked.names == ("a", "b")
    assert masked.valid_BK.tolist() == (values > 3).view(6, 2).tolist()
    with pytest.raises(ValueError, match=r"rewards must be \(P, G, K\); got \(2, 3\)"):
        RewardMatrix.from_groups(torch.zeros(2, 3))


# Rollout batches -----------------------------------------------------------------------------------------------------


def rollouts(lengths: list[list[int]], first_token: int = 1, version: int = 0) -> RolloutBatch:
    """One completion per length, a list per prompt; tokens count up so that every one can be told from the others."""
    flat = [length for group in lengths for length in group]
    prompts = tuple(
        EncodedPrompt(Prompt(f"prompt {first_token}.{p}", {"answer": p}), "text", (1,)) for p in range(len(lengths))
    )
    longest = max(flat)
    mask = torch.arange(longest) < torch.tensor(flat)[:, None]
    ids = torch.where(mask, torch.arange(first_token, first_token + mask.numel()).view_as(mask), 0)
    return RolloutBatch(
        prompts=prompts,
        group_ids_B=torch.tensor([p for p, group in enumerate(lengths) for _ in group]),
        completion_ids_BT=ids,
        completion_mask_BT=mask,
        rollout_logprobs_BT=-ids / 100,
        truncated_B=torch.tensor([length == longest for length in flat]),
        texts=tuple(f"text {first_token}.{row}" for row in range(len(flat))),
        weights_versions_B=torch.full((len(flat),), version),
    )


def content(batch: RolloutBatch) -> list[tuple[Any, ...]]:
    """All that belongs to each row, without padding."""
    logprobs = [
        row[mask].tolist() for row, mask in zip(batch.rollout_logprobs_BT, batch.completion_mask_BT, strict=True)
    ]
    return [
        (c.prompt.content, c.text, c.token_ids, c.truncated, p)
        for c, p in zip(batch.completions(), logprobs, strict=True)
    ]


def test_completions_are_the_rows_as_reward_providers_see_them() -> None:
    first, second, third = rollouts([[2, 3], [1]]).completions()
    assert first.token_ids == (1, 2)
    assert (first.text, first.length, first.truncated) == ("text 1.0", 2, False)
    assert second.token_ids == (4, 5, 6)
    assert second.truncated
    assert second.prompt is first.prompt
    assert third.prompt.columns == {"answer": 1}
    assert isinstance(third, Completion)


def test_select_keeps_rows_together_in_the_order_asked() -> None:
    batch = rollouts([[2, 3], [1, 2]], version=7)
    chosen = batch.select([3, 0])
    assert content(chosen) == [content(batch)[3], content(batch)[0]]
    assert chosen.completion_ids_BT.shape == (2, 2), "padding that nobody needs is cut off"
    assert chosen.lengths_B.tolist() == [2, 2]
    assert chosen.prompts is batch.prompts
    assert chosen.weights_versions_B.tolist() == [7, 7]


def test_select_of_no_row() -> None:
    none = rollouts([[2, 3]]).select([])
    assert len(none) == 0
    assert none.completion_ids_BT.shape == (0, 0)
    assert none.completions() == []


def test_concatenate_appends_prompts_and_pads_to_the_longest() -> None:
    short, long = rollouts([[1, 2]], version=3), rollouts([[4], [1]], first_token=50, version=2)
    both = RolloutBatch.concatenate([short, long])
    assert content(both) == content(short) + content(long)
    assert both.group_ids_B.tolist() == [0, 0, 1, 2]
    assert both.completion_ids_BT.shape == (4, 4)
    assert not both.completion_ids_BT[~both.completion_mask_BT].any()
    assert not both.rollout_logprobs_BT[~both.completion_mask_BT].any()
    assert both.weights_versions_B.tolist() == [3, 3, 2, 2]


def test_concatenate_undoes_select() -> None:
    batch = rollouts([[2, 3], [1, 2]])
    parts = [batch.select([0, 1]), batch.select([2, 3])]
    assert content(RolloutBatch.concatenate(parts)) == content(batch)


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": -0.1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"max_tokens": 0},
    ],
)
def test_sampling_options_out_of_range_are_refused_by_name(changes: dict[str, Any]) -> None:
    (name,) = changes
    with pytest.raises(ValueError, match=f"'{name}' must be"):
        Sampling(**changes)


# Conversations -------------------------------------------------------------------------------------------------------


def turn(start: int, end: int, text: str, *, truncated: bool = False, answer: str | None = None) -> Turn:
    answers = () if answer is None else ({"role": "user", "content": answer},)
    return Turn(start, end, text, {"role": "assistant", "content": text}, answers, truncated, {"solved": 1.0})


def conversations(**changes: Any) -> RolloutBatch:
    """Two turns with two tokens of the environment between; one turn after a foreign token; foreign tokens alone."""
    mask = torch.arange(5) < torch.tensor([5, 3, 2])[:, None]
    sampled = torch.tensor([[1, 0, 0, 1, 1], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()
    ids = torch.where(mask, torch.arange(1, 16).view(3, 5), 0)
    fields: dict[str, Any] = {
        "prompts": (EncodedPrompt(Prompt("hi", {"answer": 3}), "hi", (7,)),),
        "group_ids_B": torch.zeros(3, dtype=torch.int64),
        "completion_ids_BT": ids,
        "completion_mask_BT": mask,
        "rollout_logprobs_BT": -ids / 100 * sampled,
        "truncated_B": torch.tensor([False, True, False]),
        "texts": ("b", "c", ""),
        "weights_versions_B": torch.zeros(3, dtype=torch.int64),
        "sampled_mask_BT": sampled,
        "turns": ((turn(0, 1, "a", answer="go on"), turn(3, 5, "b")), (turn(1, 3, "c", truncated=True),), ()),
        "statuses": (
            CompletionStatus.COMPLETED,
            CompletionStatus.CONTEXT_FULL,
            CompletionStatus.ENVIRONMENT_TIMEOUT,
        ),
        "infos": ({"moves": 2}, {}, {"error": "late"}),
    }
    return RolloutBatch(**(fields | changes))


def story(batch: RolloutBatch) -> list[tuple[Any, ...]]:
    """All that rewards are told of each row, and where its turns lie."""
    return [
        (c.text, c.token_ids, c.length, c.truncated, c.status, dict(c.info), c.messages, spans)
        for c, spans in zip(batch.completions(), batch.spans, strict=True)
    ]


def test_completions_of_conversations() -> None:
    first, second, third = conversations().completions()
    assert (first.text, first.token_ids, first.length, first.truncated) == ("b", (1, 4, 5), 3, False)
    assert [message["content"] for message in first.messages] == ["hi", "a", "go on", "b"]
    assert [message["role"] for message in first.messages] == ["user", "assistant", "user", "assistant"]
    assert [each.length for each in first.turns] == [1, 2]
    assert first.turns[0].rewards == {"solved": 1.0}
    assert first.info == {"moves": 2}
    assert (second.token_ids, second.truncated, second.status) == ((7, 8), True, "context_full")
    assert (third.token_ids, third.length, third.turns) == ((), 0, ())
    assert third.status is CompletionStatus.ENVIRONMENT_TIMEOUT


def test_a_completion_of_one_turn_follows_from_its_text_and_tokens() -> None:
    plain = Completion(Prompt([{"role": "system", "content": "be brief"}]), "yes", (4, 5), truncated=True)
    (only,) = plain.turns
    assert (only.start, only.end, only.text, only.answers, only.truncated) == (0, 2, "yes", (), True)
    assert plain.status is CompletionStatus.TRUNCATED
    assert [message["content"] for message in plain.messages] == ["be brief", "yes"]
    assert Completion(Prompt("?"), "yes", (4,)).status == "completed"


def test_a_batch_of_single_turns_says_so_and_follows_its_masks() -> None:
    batch = rollouts([[2, 3]])
    assert batch.spans == (((0, 2),), ((0, 3),))
    assert batch.statuses == (CompletionStatus.COMPLETED, CompletionStatus.TRUNCATED)
    assert torch.equal(batch.sampled_mask_BT, batch.completion_mask_BT)
    cut = evolve(
        batch,
        completion_mask_BT=batch.completion_mask_BT & (torch.arange(3) < 1),
        truncated_B=torch.tensor([True, False]),
    )
    assert cut.lengths_B.tolist() == [1, 1]
    assert cut.spans == (((0, 1),), ((0, 1),))
    assert cut.statuses == (CompletionStatus.TRUNCATED, CompletionStatus.COMPLETED)


def test_select_and_concatenate_keep_conversations() -> None:
    batch, plain = conversations(), rollouts([[2], [1]])
    assert batch.lengths_B.tolist() == [3, 2, 0]
    assert batch.total_lengths_B.tolist() == [5, 3, 2]
    chosen = batch.select([2, 1])
    assert chosen.completion_ids_BT.shape == (2, 3)
    assert story(chosen) == [story(batch)[2], story(batch)[1]]
    both = RolloutBatch.concatenate([plain, chosen])
    assert story(both) == story(plain) + story(chosen)
    assert both.sampled_mask_BT.sum(1).tolist() == [2, 1, 0, 2]
    assert story(both.select([0, 1])) == story(plain)


def test_conversations_can_be_stored() -> None:
    """As batches that were sampled ahead are, in checkpoints."""
    batch = conversations()
    assert story(pickle.loads(pickle.dumps(batch))) == story(batch)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampled_mask_BT": torch.ones(3, 4, dtype=torch.bool)}, r"bool tensor \(3, 5\).*got \(3, 4\)"),
        ({"sampled_mask_BT": torch.ones(3, 5)}, r"got \(3, 5\) torch.float32"),
        ({"sampled_mask_BT": torch.ones(3, 5, dtype=torch.bool)}, "True where completion_mask_BT says"),
        ({"turns": None}, "leaves tokens out: say in `turns`"),
        ({"turns": ((), ())}, "turns must have one entry for each of the 3 completions; got 2"),
        ({"statuses": (CompletionStatus.COMPLETED,)}, "statuses must have one entry"),
        ({"infos": ()}, "infos must have one entry"),
        ({"statuses": ("completed", "truncated", "completed")}, r"completion 0 must be one of morl.types.CompletionSt"),
        ({"statuses": (CompletionStatus.COMPLETED,) * 3}, "completion 1 has the status 'completed', but truncated_B"),
        (
            {"turns": ((turn(0, 1, "a"), turn(2, 5, "b")), (turn(1, 3, "c", truncated=True),), ())},
            r"turns of completion 0 lie at \[\(0, 1\), \(2, 5\)\], which is not where",
        ),
        (
            {"turns": ((turn(3, 5, "a"), turn(0, 1, "b")), (turn(1, 3, "c", truncated=True),), ())},
            "completion 0 must have tokens and follow each other",
        ),
        (
            {"turns": ((turn(0, 1, "a"), turn(3, 5, "b")), (turn(1, 3, "c"),), ())},
            "last turn of completion 1 are not those of the batch",
        ),
    ],
)
def test_masks_turns_and_statuses_that_contradict_each_other_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conversations(**changes)


def test_a_matrix_knows_where_sampled_tokens_lie() -> None:
    values, groups = torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64)
    batch = conversations()
    matrix = RewardMatrix(values, groups, ("r",), spans=batch.spans)
    assert torch.equal(matrix.sampled_mask_BT, batch.sampled_mask_BT)
    with pytest.raises(ValueError, match="give it `spans`"):
        _ = RewardMatrix(values, groups, ("r",)).sampled_mask_BT
    with pytest.raises(ValueError, match="spans must have one entry for each of 3 completions; got 1"):
        RewardMatrix(values, groups, ("r",), spans=(((0, 1),),))
