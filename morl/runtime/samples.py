"""Completions as rows of JSON, to be read by people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from morl.types import RolloutBatch, Turn


def rollout_rows(rollouts: RolloutBatch) -> Iterator[dict[str, Any]]:
    """What was asked and answered, a mapping per completion; of conversations also every turn."""
    lengths, truncated = rollouts.lengths_B.tolist(), rollouts.truncated_B.tolist()
    foreign = (rollouts.total_lengths_B - rollouts.lengths_B).tolist()
    statuses, turns = rollouts.statuses, rollouts.turns
    several = any(foreign) or any(len(own) > 1 for own in turns)
    for b, (text, group) in enumerate(zip(rollouts.texts, rollouts.group_ids_B.tolist(), strict=True)):
        prompt = rollouts.prompts[group]
        yield {
            "prompt_row": prompt.index,
            "prompt": prompt.text,
            "completion": text,
            "tokens": lengths[b],
            "truncated": truncated[b],
            "status": statuses[b],
            **({"environment_tokens": foreign[b], "turns": [_turn(turn) for turn in turns[b]]} if several else {}),
        }


def _turn(turn: Turn) -> dict[str, Any]:
    return {
        "tokens": turn.length,
        "reply": dict(turn.reply),
        "answers": [dict(message) for message in turn.answers],
        "rewards": dict(turn.rewards),
    }
