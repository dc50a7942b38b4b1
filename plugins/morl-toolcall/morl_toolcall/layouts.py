"""The layouts that ToolRL's data set comes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from morl.errors import DataError
from morl.types import Message


def conversation(row: Mapping[str, Any], where: str) -> tuple[Sequence[Message], str, dict[str, Any]]:
    """Chat messages, reference answer and all other columns of a row.

    Either the row has `prompt`, messages or the text of one, and the reference answer in `ground_truth` or, as verl
    lays its rows out, in `reward_model.ground_truth`.  Or it is raw: `instruction`, the system message, `input`, the
    user's, and `output`, the reference answer.

    Args:
        row: fields by name.
        where: names the row in errors.

    Raises:
        DataError: a row of neither layout, or one that lacks something.
    """
    if "prompt" not in row and "output" in row:
        used: tuple[str, ...] = ("instruction", "input", "output")
        _check_present({"input": row.get("input"), "output": row["output"]}, row, where)
        messages = [{"role": "user", "content": row["input"]}]
        if row.get("instruction"):
            messages.insert(0, {"role": "system", "content": row["instruction"]})
        gold = row["output"]
    else:
        used = ("prompt", "ground_truth")
        gold = row.get("ground_truth") or (row.get("reward_model") or {}).get("ground_truth")
        _check_present({"prompt": row.get("prompt"), "ground_truth": gold}, row, where)
        messages = _messages(row["prompt"], where)
    return messages, gold, {name: value for name, value in row.items() if name not in used}


def _check_present(needed: Mapping[str, Any], row: Mapping[str, Any], where: str) -> None:
    for name, value in needed.items():
        if not value:
            raise DataError(
                f"{where} has no {name!r}; its columns: {', '.join(row)}; expected 'prompt' and 'ground_truth' (or"
                " 'reward_model.ground_truth'), or the raw 'instruction', 'input' and 'output'"
            )


def _messages(prompt: Any, where: str) -> list[dict[str, Any]]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    try:
        # Columnar files give every message the keys of all; chat templates ask whether a key is there.
        messages = [{k: v for k, v in message.items() if v is not None or k == "content"} for message in prompt]
    except (TypeError, AttributeError):
        messages = [{}]
    if not all({"role", "content"} <= message.keys() for message in messages):
        raise DataError(f"{where}: 'prompt' must be text or a list of chat messages; got {prompt!r:.80}")
    return messages
