"""What the policy reads of an observation, and the rewards in it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field

from morl_openenv.failures import Kind, OpenEnvError

ROOTS = ("reward", "metadata", "observation")
"""What the path of a reward begins with."""


def found(data: Mapping[str, Any], path: str) -> Any:
    """What stands at a dotted path; None where nothing does.

    >>> found({"metadata": {"score": {"form": 1}}}, "metadata.score.form")
    1
    """
    value: Any = data
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def shown(observation: Mapping[str, Any], fields: Sequence[str] | None) -> str:
    """An observation as text: one field as it is where it is a text, else JSON.

    Args:
        observation: as the server gave it.
        fields: dotted paths; None takes all but `metadata` and what is null.

    >>> shown({"echo": "yes", "metadata": {}}, None), shown({"row": 1, "free": [2, 3]}, None)
    ('yes', '{"row": 1, "free": [2, 3]}')
    >>> shown({"row": 1, "free": [2, 3]}, ["free"])
    '[2, 3]'
    """
    if fields is None:
        fields = [name for name, value in observation.items() if name != "metadata" and value is not None]
    values = {path: found(observation, path) for path in fields}
    return as_text(next(iter(values.values())) if len(values) == 1 else values)


def tool_result(observation: Mapping[str, Any]) -> str:
    """What a tool of the server said: its texts, else its data as JSON; of a call that failed, the error.

    >>> tool_result({"tool_name": "add", "result": {"content": [{"type": "text", "text": "3"}], "data": 3}})
    '3'
    >>> tool_result({"error": {"error_type": "tool_not_found", "message": "Unknown tool: 'ad'"}})
    "Error: Unknown tool: 'ad'"
    """
    if isinstance(error := observation.get("error"), Mapping):
        return f"Error: {as_text(error.get('message'))}"
    result = observation.get("result")
    content = result.get("content") if isinstance(result, Mapping) else None
    if not isinstance(content, list):
        return as_text(result)
    parts = [part["text"] if isinstance(part, Mapping) and "text" in part else part for part in content]
    return "\n".join(as_text(part) for part in parts)


def failed(observation: Mapping[str, Any]) -> bool:
    """Whether a tool of the server raised, was not there or was called with wrong arguments."""
    return observation.get("error") is not None or found(observation, "result.is_error") is True


def as_text(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@define(eq=False)
class Rewards:
    """The named rewards of one episode.

    Attributes:
        paths: where each stands in an answer.
        running: names of those whose value is the total so far; what is given is by how much it grew.
    """

    paths: Mapping[str, str]
    running: Sequence[str] = ()
    _last: dict[str, float] = field(factory=dict)

    def of(self, data: Mapping[str, Any]) -> dict[str, float]:
        """What one answer gives, by name; a reward that it does not have is left out.

        Raises:
            OpenEnvError: a value that is no finite number.

        >>> rewards = Rewards({"won": "reward", "score": "metadata.score"}, running=["score"])
        >>> rewards.of({"reward": 0.5, "metadata": {"score": 2}})
        {'won': 0.5, 'score': 2.0}
        >>> rewards.of({"reward": None, "metadata": {"score": 3}})
        {'score': 1.0}
        """
        given: dict[str, float] = {}
        for name, path in self.paths.items():
            value = found(data, path)
            if value is None:
                continue
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise OpenEnvError(Kind.ANSWER, f"reward {name!r}: {path} must be a finite number; got {value!r}")
            before = self._last.get(name, 0.0)
            given[name] = float(value) - before if name in self.running else float(value)
            self._last[name] = float(value)
        return given

    @property
    def absent(self) -> dict[str, None]:
        """Those that no answer gave: they do not apply to this episode."""
        return {name: None for name in self.paths if name not in self._last}
