"""A completion or a conversation as the page shows it."""

from __future__ import annotations

import json

from attrs import frozen

from morl.report.explain import Part
from morl.report.samples import Sample
from morl.report.text import MOST_CHARACTERS

FATES = {
    "up": "pushed up",
    "down": "pushed down",
    "clipped": "clipped or bounded by the loss",
    "zero": "no advantage",
    "masked": "left out of the update",
    "read": "read, not sampled",
}
"""Of tokens, as `morl.training.fates` names them."""
MOST_PIECES = 1_000
"""Of one completion."""


@frozen
class Transcript:
    """A completion with what each reward made of it."""

    sample: Sample
    parts: list[Part]

    @property
    def shown(self) -> list[tuple[str, str]]:
        """The pieces up to `MOST_CHARACTERS`; a fate that this version does not know is `zero`."""
        found, room = [], MOST_CHARACTERS
        for fate, text in self.sample.pieces[:MOST_PIECES]:
            found.append((fate if fate in FATES else "zero", text[:room]))
            room -= len(text)
            if room <= 0:
                break
        return found

    @property
    def messages(self) -> list[tuple[str, str, bool]]:
        """Of a conversation: a heading, a text, and whether the policy wrote it."""
        found = []
        for place, turn in enumerate(self.sample.turns, start=1):
            found.append((f"Turn {place}{self._earned(place - 1)}", message_text(turn.get("reply")), True))
            answers = turn.get("answers")
            for answer in answers if isinstance(answers, list) else []:
                role = answer.get("role", "environment") if isinstance(answer, dict) else "environment"
                name = f" {answer['name']}" if isinstance(answer, dict) and answer.get("name") else ""
                found.append((f"{role}{name}", message_text(answer), False))
        return found

    def _earned(self, place: int) -> str:
        """What a turn was given, and the advantage of its tokens."""
        given = self.sample.turns[place].get("rewards")
        said = [f"{name} {value}" for name, value in (given if isinstance(given, dict) else {}).items()]
        if place < len(self.sample.turn_advantages):
            said.append(f"advantage {self.sample.turn_advantages[place]:+.3g}")
        return f": {', '.join(said)}" if said else ""

    @property
    def more(self) -> int:
        """Characters that are not shown."""
        return sum(len(text) for _, text in self.sample.pieces) - sum(len(text) for _, text in self.shown)

    @property
    def fates(self) -> list[str]:
        """Those that occur, in the order of the legend."""
        there = {fate for fate, _ in self.shown}
        return [fate for fate in FATES if fate in there]


def message_text(message: object) -> str:
    """What a message says, and the tools that it calls, a line each."""
    if not isinstance(message, dict):
        return "" if message is None else str(message)
    content = message.get("content")
    lines = [content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)] if content else []
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function", call) if isinstance(call, dict) else call
        if not isinstance(function, dict):
            lines.append(f"calls {function}")
            continue
        given = function.get("arguments")
        given = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        lines.append(f"calls {function.get('name', '?')}({given})")
    return "\n".join(lines) or json.dumps(message, ensure_ascii=False, default=str)
