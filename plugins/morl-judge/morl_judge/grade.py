"""How a grade is read from what a judge said."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from morl.errors import ConfigError, suggest
from morl.reward.patterns import compile_pattern, within
from morl_judge.failures import JudgeError, Kind

_WAYS = ("regex", "json", "choice")
_KEYS = (*_WAYS, "low", "high")
_MOST_OBJECTS = 64


@frozen
class Grade:
    """Reads one grade.

    Exactly one of the first three says how.

    Args:
        regex: the last match counts: its first group, or all of it, must be a number.
        json: the field of a JSON object in the answer, dotted where it is nested; the last object that has it counts.
        choice: number by word; the answer, or its last line, is one of the words, or else holds exactly one of them.
        low: a smaller grade cannot be read.
        high: a larger one neither.

    Raises:
        ConfigError: none or several ways, a pattern that does not compile, no choices, or bounds the wrong way round.

    >>> Grade(regex="[0-9]+/10").read("I give it 7"), Grade(regex="([0-9]+)/10").read("6/10, no, 7/10")
    Traceback (most recent call last):
    ...
    morl_judge.failures.JudgeError: grade: nothing matches '[0-9]+/10' in 'I give it 7'
    >>> Grade(json="score").read('Well: {"score": 7}'), Grade(choice={"yes": 1, "no": 0}).read("Yes.")
    (7.0, 1.0)
    """

    regex: str | None = None
    json: str | None = None
    choice: Mapping[str, float] | None = None
    low: float = -math.inf
    high: float = math.inf
    _pattern: Any = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        given = [way for way in _WAYS if getattr(self, way) is not None]
        if len(given) != 1:
            raise ConfigError(f"a grade is read in one way, {', '.join(_WAYS)}; got {', '.join(given) or 'none'}")
        if not self.low < self.high:
            raise ConfigError(f"low must be below high; got low={self.low}, high={self.high}")
        if self.choice is not None and not (
            self.choice and all(isinstance(word, str) and word.strip() for word in self.choice)
        ):
            raise ConfigError(f"choice must be a mapping from words to numbers; got {self.choice!r}")
        object.__setattr__(self, "_pattern", compile_pattern("regex", self.regex) if self.regex is not None else None)

    @classmethod
    def of(cls, where: str, options: Any) -> Grade:
        """From the config.

        Raises:
            ConfigError: no mapping, an unknown key, or a wrong value; `where` names the place.
        """
        if not isinstance(options, Mapping):
            raise ConfigError(
                f"{where} must say how the grade is read, e.g. {{regex: 'Grade: ([0-9]+)'}}; got {options!r}"
            )
        for key in options:
            if key not in _KEYS:
                raise ConfigError(
                    f"{where} has the unknown key {key!r}{suggest(str(key), _KEYS)}; keys: {', '.join(_KEYS)}"
                )
        try:
            return cls(**options)
        except (ConfigError, TypeError) as error:
            raise ConfigError(f"{where}: {error}") from error

    @property
    def bounds(self) -> tuple[float, float] | None:
        """What grades lie between, where both are given."""
        return (self.low, self.high) if math.isfinite(self.low) and math.isfinite(self.high) else None

    def read(self, text: str) -> float:
        """The grade.

        Raises:
            JudgeError: there is none.
        """
        if self.regex is not None:
            value = self._matched(text)
        elif self.json is not None:
            value = self._field(text, self.json)
        else:
            value = self._chosen(text)
        try:
            grade = float(value)
        except (TypeError, ValueError, OverflowError):
            raise _unreadable(f"{value!r:.80} is no number", text) from None
        if not (math.isfinite(grade) and self.low <= grade <= self.high):
            raise _unreadable(f"{grade} is not between {self.low} and {self.high}", text)
        return grade

    def read_or_error(self, answer: str | Exception) -> float | Exception:
        """The grade, or why there is none."""
        try:
            return answer if isinstance(answer, Exception) else self.read(answer)
        except JudgeError as error:
            return error

    def _matched(self, text: str) -> Any:
        try:
            found = within(1.0, lambda timeout: [*self._pattern.finditer(text, timeout=timeout)][-1:])
        except TimeoutError as error:
            raise _unreadable(str(error), text) from error
        if not found:
            raise _unreadable(f"nothing matches {self.regex!r}", text)
        return found[0][1] if self._pattern.groups else found[0][0]

    def _field(self, text: str, path: str) -> Any:
        missing = object()
        value: Any = missing
        for found in _objects(text):
            for key in path.split("."):
                found = found.get(key, missing) if isinstance(found, Mapping) else missing
            value = value if found is missing else found
        if value is missing:
            raise _unreadable(f"no JSON object has {path!r}", text)
        return value

    def _chosen(self, text: str) -> float:
        assert self.choice is not None
        words = {word.strip().casefold(): number for word, number in self.choice.items()}
        for candidate in (text, text.strip().rpartition("\n")[2]):
            plain = candidate.strip(" \t\r\n.,;:!?*\"'`()[]{}").casefold()
            if plain in words:
                return words[plain]
        held = [word for word in words if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text.casefold())]
        if len(held) != 1:
            raise _unreadable(f"it holds {len(held)} of the choices {', '.join(self.choice)}", text)
        return words[held[0]]


def _objects(text: str) -> list[Any]:
    """The JSON objects in a text that lie in no other, as far as they can be found in a bounded number of tries."""
    objects, position, decoder = [], 0, json.JSONDecoder()
    for _ in range(_MOST_OBJECTS):
        position = text.find("{", position)
        if position < 0:
            break
        try:
            value, position = decoder.raw_decode(text, position)
            objects.append(value)
        except (ValueError, RecursionError):
            position += 1
    return objects


def _unreadable(reason: str, text: str) -> JudgeError:
    return JudgeError(Kind.GRADE, f"{reason} in {text[:200]!r}")
