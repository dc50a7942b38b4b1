"""What the parsers of call formats have in common: calls as they were written, before anybody looks at the tools."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from attrs import evolve, frozen

from morl.conversation.calls import CallStatus


@frozen
class Written:
    """A call as the policy wrote it.

    Attributes:
        start: first character of the call in the text.
        end: one past its last.
        name: of the tool; empty where none could be read.
        arguments: by name; None where they could not be read.
        status: OK as long as it is well-formed, whatever the tools are.
        problem: what is wrong with it, in words.
        raw: its text.
    """

    start: int
    end: int
    name: str = ""
    arguments: Mapping[str, Any] | None = None
    status: CallStatus = CallStatus.OK
    problem: str = ""
    raw: str = ""


@frozen
class Said:
    """What a reply consists of.

    Attributes:
        content: the text around the calls.
        calls: in their order.
        reasoning: None where the format has no part for it, or the reply none.
    """

    content: str
    calls: tuple[Written, ...] = ()
    reasoning: str | None = None


class CallFormat(ABC):
    """Reads the calls in the text of a reply, special tokens included.  No method raises, whatever the text is."""

    textual: ClassVar[bool] = False
    """Whether values of arguments are text, whose types the schema of the tool tells."""

    begins: ClassVar[tuple[str, ...]] = ()
    """Texts with which a call begins; one of them ends a part of thinking that was not closed."""

    @abstractmethod
    def find(self, text: str) -> Iterator[Written]:
        """The calls, in their order; they do not overlap."""

    def read(self, text: str) -> Said:
        """The calls, and what stands around them."""
        calls = [*self.find(text)]
        if not calls:
            return Said(text)
        edges = [0, *(edge for call in calls for edge in (call.start, call.end)), len(text)]
        around = "".join(text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))
        return Said(around.strip(), tuple(with_text(call, text) for call in calls))


def blocks(text: str, opening: str, closing: str) -> Iterator[tuple[Written, str, bool]]:
    """The blocks between two marks, each with what stands in it and whether it is closed.

    One that is not closed ends where the next one begins, or with the text.
    """
    start = text.find(opening)
    while start >= 0:
        inside = start + len(opening)
        following, end = text.find(opening, inside), text.find(closing, inside)
        closed = end >= 0 and (following < 0 or end < following)
        body_end = end if closed else following if following >= 0 else len(text)
        end = end + len(closing) if closed else body_end
        yield Written(start, end), text[inside:body_end], closed
        start = text.find(opening, end)


class Unreadable(Exception):
    """Text that is no JSON; the message says where."""


def with_text(call: Written, text: str) -> Written:
    """The call with its text, unless it has one of its own."""
    return call if call.raw else evolve(call, raw=text[call.start : call.end])


def json_value(text: str) -> Any:
    """The value of JSON text, by the standard: `NaN` and `Infinity` are none.

    Raises:
        Unreadable: no JSON, nested too deeply, or with half a character, which nothing could write to a file.
    """
    try:
        return json_value_of(json.loads(text, parse_constant=_refuse))
    except json.JSONDecodeError as error:
        raise Unreadable(f"{error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    except ValueError as error:
        raise Unreadable(str(error)) from None


def json_value_of(found: Any) -> Any:
    """A value that JSON text can hold.

    Raises:
        Unreadable: nested too deeply, half a character, or what JSON does not know.
    """
    try:
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise Unreadable("it contains half a character") from None
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    except (ValueError, TypeError) as error:
        raise Unreadable(str(error)) from None
    return found


def json_end(text: str, start: int) -> int | None:
    """One past the JSON value that begins at `start`; None where none does."""
    try:
        return json.JSONDecoder().raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return None


def from_json(call: Written, text: str, *, closed: bool, arguments: Sequence[str] = ("arguments",)) -> Written:
    """A call whose text is a JSON object with a name and arguments.

    Args:
        call: where it stands.
        text: the JSON.
        closed: whether its end was found.
        arguments: keys under which the arguments may stand.
    """
    try:
        found = json_value(text)
    except Unreadable as error:
        if not closed:
            return evolve(call, status=CallStatus.UNCLOSED_BLOCK, problem="the call is not finished")
        return evolve(call, status=CallStatus.INVALID_JSON, problem=f"the call is not valid JSON: {error}")
    if not isinstance(found, dict):
        problem = f"a call must be a JSON object with a name and {arguments[0]}; this is {kind_of(found)}"
        return evolve(call, status=CallStatus.MALFORMED_STRUCTURE, problem=problem)
    name = found.get("name")
    if not isinstance(name, str) or not name:
        return evolve(call, status=CallStatus.MISSING_NAME, problem="the call names no tool")
    key = next((key for key in arguments if key in found), None)
    return with_arguments(evolve(call, name=name), {} if key is None else found[key], key or arguments[0])


def with_arguments(call: Written, arguments: object, key: str = "arguments") -> Written:
    """The call with its arguments, which must be an object."""
    if isinstance(arguments, dict):
        return evolve(call, arguments=arguments)
    problem = f"the {key} of a call must be a JSON object; these are {kind_of(arguments)}"
    return evolve(call, status=CallStatus.MALFORMED_STRUCTURE, problem=problem)


def kind_of(value: object) -> str:
    """What a JSON value is, in JSON's words."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "a boolean"
    kinds = {int: "an integer", float: "a number", str: "a string", list: "an array", dict: "an object"}
    return kinds.get(type(value), type(value).__name__)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
