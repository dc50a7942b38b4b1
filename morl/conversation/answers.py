"""What an environment answered: whether it keeps the contract, and how it is put to the policy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

from morl.conversation.calls import CallStatus, ToolCall
from morl.texts import texts_in
from morl.types import EnvironmentAnswer, Message

FIGURES = "conversation"
"""Key of `RolloutBatch.infos` under which the driver says what it counted."""


class AnswerError(ValueError):
    """An answer that breaks the contract of `morl.hookspecs.Episode`; a failure of its episode."""


def check_answer(answer: object, calls: int, rewards: Sequence[str]) -> None:
    """Refuses an answer that the policy cannot be given.

    Args:
        answer: of `Episode.step`.
        calls: of tools in the reply that it answers to.
        rewards: names that the environment declares.

    Raises:
        AnswerError: says what is expected.
    """
    if not isinstance(answer, EnvironmentAnswer):
        raise AnswerError(f"step() must return a morl.types.EnvironmentAnswer; got {type(answer).__name__}")
    check_messages(answer.messages, ("tool", "user"))
    if not isinstance(answer.done, bool):
        raise AnswerError(f"`done` must be a bool; got {answer.done!r}")
    if not answer.done and not answer.messages:
        raise AnswerError("an answer that is not done has no message: the policy would have nothing to reply to")
    results = sum(message["role"] == "tool" for message in answer.messages)
    if results not in (0, calls):
        raise AnswerError(
            f"a reply with {calls} calls of tools got {results} messages of the role tool; expected {calls} or none"
        )
    check_info(answer.info)
    check_rewards(answer.rewards, rewards)


def check_messages(messages: object, roles: Sequence[str]) -> None:
    """Refuses what is no list of chat messages of these roles, with text as content.

    Raises:
        AnswerError: says what is expected.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise AnswerError(f"`messages` must be a list of chat messages; got {messages!r:.200}")
    for message in messages:
        if not isinstance(message, Mapping) or message.get("role") not in roles:
            raise AnswerError(f"a message must be a mapping whose role is {' or '.join(roles)}; got {message!r:.200}")
        if not isinstance(message.get("content"), str):
            raise AnswerError(f"the content of a message must be text; got {message!r:.200}")
        check_text(message)
    check_json("messages", [dict(message) for message in messages])


def check_text(value: object) -> None:
    """Refuses text that holds half a character, which no tokenizer takes.

    Raises:
        AnswerError: says what it is.
    """
    for text in texts_in(value, keys=True):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise AnswerError(f"a text that is no valid Unicode: {error}; got {text!r:.200}") from error


def check_rewards(rewards: object, names: Sequence[str]) -> dict[str, float | None]:
    """The rewards as numbers.

    Args:
        rewards: by name; numbers of Python, numpy and torch, or None.
        names: that the environment declares.

    Raises:
        AnswerError: rewards that are not declared, or no numbers.
    """
    if not isinstance(rewards, Mapping):
        raise AnswerError(f"rewards must be a mapping from their names to numbers; got {rewards!r:.200}")
    for name in rewards:
        if name not in names:
            raise AnswerError(f"gives the reward {name!r}, which reward_names {list(names)} does not declare")
    return {name: _number(name, value) for name, value in rewards.items()}


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    plain = value.item() if getattr(value, "shape", None) in ((), (1,)) else value  # of numpy or torch
    try:
        number = float(plain) if isinstance(plain, Real | Decimal) else math.nan
    except (OverflowError, ValueError):  # that no float holds
        number = math.nan
    if not math.isfinite(number):
        raise AnswerError(f"reward {name!r} must be a finite number or None; got {value!r:.80}")
    return number


def check_info(info: object) -> None:
    """Refuses what is no mapping by text, or takes the place of what morl counts.

    Raises:
        AnswerError: says what is expected.
    """
    if not isinstance(info, Mapping) or not all(isinstance(key, str) for key in info):
        raise AnswerError(f"`info` must be a mapping whose keys are text; got {info!r:.200}")
    if FIGURES in info:
        raise AnswerError(f"info[{FIGURES!r}] is what morl counts; give yours another name")


def check_json(what: str, value: object) -> None:
    """Refuses what JSON cannot hold.

    Raises:
        AnswerError: says what it is.
    """
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AnswerError(f"{what} must be plain data that JSON can hold: {error}") from error


def makeable(calls: Sequence[ToolCall]) -> list[ToolCall]:
    """Those that are written well enough to be made."""
    return [call for call in calls if call.status is CallStatus.OK]


def with_problems(calls: Sequence[ToolCall], messages: Sequence[Message]) -> tuple[Message, ...]:
    """An environment's answer, completed with one to every call that could not be made, in the order of the calls.

    Args:
        calls: of the reply; the environment has seen those that could be made.
        messages: of the environment.
    """
    made = [call for call in calls if call.status is CallStatus.OK]
    results = [message for message in messages if message["role"] == "tool"]
    if made and not results:  # it does not answer to calls as such
        return tuple(dict(message) for message in messages)
    others = [dict(message) for message in messages if message["role"] != "tool"]
    answers = iter(results)
    told: list[dict[str, Any]] = []
    for call in calls:
        if call.status is CallStatus.OK:
            told.append({"tool_call_id": call.id, "name": call.name, **next(answers)})
        else:
            told.append({"role": "tool", "tool_call_id": call.id, "name": call.name, "content": problem(call)})
    return (*told, *others)


def problem(call: ToolCall) -> str:
    """What a policy is told about a call that could not be made."""
    return f"Error: {call.problem or call.status.value.replace('_', ' ')}"
