"""The keyword arguments of reward functions, as TRL and verl pass them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from morl.copies import copied
from morl.errors import DataError
from morl.types import Completion


def trl_arguments(completions: Sequence[Completion]) -> dict[str, Any]:
    """Lists with one entry per completion; those of one prompt share nothing that can be changed."""
    columns: dict[str, None] = {}
    for completion in completions:
        columns |= dict.fromkeys(completion.prompt.columns)
    return {
        **{name: [copied(completion.prompt.columns.get(name)) for completion in completions] for name in columns},
        "prompts": [copied(completion.prompt.content) for completion in completions],
        "completions": [_said(completion) for completion in completions],
        "completion_ids": [list(completion.token_ids) for completion in completions],
    }


def _said(completion: Completion) -> Any:
    """Text after text; after messages those of one turn, or of all turns of a conversation, answers included."""
    if isinstance(completion.prompt.content, str):
        return completion.text
    if not completion.is_conversation:
        return [{"role": "assistant", "content": completion.text}]
    return [copied(dict(message)) for turn in completion.turns for message in (turn.reply, *turn.answers)]


def verl_arguments(completion: Completion) -> dict[str, Any]:
    """Of one completion, which shares nothing that can be changed with others of its prompt.

    Raises:
        DataError: the row has no ground truth.
    """
    columns = completion.prompt.columns
    if "ground_truth" in columns:
        ground_truth = columns["ground_truth"]
    else:
        reward_model = columns.get("reward_model")
        if not isinstance(reward_model, Mapping) or "ground_truth" not in reward_model:
            raise DataError(
                "a verl reward needs the column `ground_truth`, or `reward_model` with the key `ground_truth`;"
                f" the row has {', '.join(columns) or 'no columns'}"
            )
        ground_truth = reward_model["ground_truth"]
    return {
        "data_source": columns.get("data_source"),
        "solution_str": completion.text,
        "ground_truth": copied(ground_truth),
        "extra_info": copied(columns.get("extra_info")),
    }
