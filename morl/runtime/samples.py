"""Completions as rows of JSON, to be read by people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from morl.conversation.talk import FIGURES
from morl.types import RolloutBatch, Turn

MOST_CHARACTERS = 2_000
"""Of one column of a prompt's row, as JSON; a longer one is cut, as text."""


def rollout_rows(rollouts: RolloutBatch) -> Iterator[dict[str, Any]]:
    """What was asked and answered, a mapping per completion; of conversations also every turn."""
    lengths, truncated = rollouts.lengths_B.tolist(), rollouts.truncated_B.tolist()
    foreign = (rollouts.total_lengths_B - rollouts.lengths_B).tolist()
    statuses, turns = rollouts.statuses, rollouts.turns
    infos = rollouts.infos
    several = any(foreign) or any(len(own) > 1 for own in turns) or any(FIGURES in info for info in infos)
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
            **{key: str(infos[b][key]) for key in ("failure", "template") if FIGURES in infos[b] and key in infos[b]},
        }


def _turn(turn: Turn) -> dict[str, Any]:
    return {
        "tokens": turn.length,
        "reply": dict(turn.reply),
        "answers": [dict(message) for message in turn.answers],
        "rewards": dict(turn.rewards),
    }


def bounded(value: Any) -> Any:
    """A column as JSON can hold it, and no longer than `MOST_CHARACTERS`."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
    except (TypeError, ValueError):
        return str(value)[:MOST_CHARACTERS]
    return json.loads(text) if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS]
