"""When two values of a parameter are equal: as JSON means it, or with tolerance."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal, TypeAlias, get_args

from attrs import frozen

from morl.errors import ConfigError, suggest
from morl_toolcall.json_text import decode_any

Tolerated: TypeAlias = Literal["case", "space", "json-text"]


@frozen
class Untyped:
    """A value that was written without saying of which type it is; it equals the text, and what the text is in JSON."""

    text: str


@frozen
class Tolerance:
    """Differences between values that do not count.

    Attributes:
        tolerate: `case` of texts; white `space` around texts, and how much of it is within; `json-text`: a text equals
            the number, truth value, null, list or object whose JSON it is ("5" is 5).
        number_error: numbers are equal up to this share of the larger one.

    Raises:
        ConfigError: an unknown name, or an error that is no share.
    """

    tolerate: tuple[Tolerated, ...] = ()
    number_error: float = 0.0

    def __attrs_post_init__(self) -> None:
        for name in self.tolerate:
            if name not in get_args(Tolerated):
                raise ConfigError(
                    f"tolerate has the unknown name {name!r}{suggest(str(name), get_args(Tolerated))};"
                    f" choose from {', '.join(get_args(Tolerated))}"
                )
        if not 0 <= self.number_error < 1:
            raise ConfigError(f"number_error must be a share, at least 0 and below 1; got {self.number_error!r}")

    def same(self, left: object, right: object) -> bool:
        """Whether two values are equal.

        Numbers compare by value (5 is 5.0), booleans equal booleans only (1 is not true), text equals text only (5 is
        not "5") and compares in Unicode normal form C; the order counts in lists and does not in objects.

        >>> Tolerance().same({"n": 5, "on": True}, {"on": True, "n": 5.0}), Tolerance().same(5, "5")
        (True, False)
        >>> Tolerance(tolerate=("json-text", "case")).same(["5", "Rome"], [5, "rome"])
        True
        """
        pending = [(left, right)]
        while pending:  # not recursive: values come from a model, which may nest them deeper than Python's stack
            a, b = (self._typed(*pair) for pair in _both(pending.pop()))
            if isinstance(a, dict) and isinstance(b, dict):
                a, b = composed_keys(a), composed_keys(b)
                if a.keys() != b.keys():
                    return False
                pending.extend((a[key], b[key]) for key in a)
            elif isinstance(a, list) and isinstance(b, list):
                if len(a) != len(b):
                    return False
                pending.extend(zip(a, b, strict=True))
            elif not self._same_scalar(a, b):
                return False
        return True

    def _typed(self, value: object, other: object) -> object:
        """`value`; where it is a text that may stand for JSON and `other` is no text, what it stands for."""
        if isinstance(value, Untyped):
            return value.text if isinstance(other, str) else decode_any(value.text)
        if isinstance(value, str) and "json-text" in self.tolerate and not isinstance(other, str | Untyped):
            return decode_any(value)
        return value

    def _same_scalar(self, a: object, b: object) -> bool:
        if isinstance(a, str) and isinstance(b, str):
            return self._text(a) == self._text(b)
        if isinstance(a, bool) or isinstance(b, bool):
            return a is b
        if isinstance(a, int | float) and isinstance(b, int | float):
            return a == b or (self.number_error > 0 and self._near(a, b))
        return a is None and b is None

    def _near(self, a: float, b: float) -> bool:
        if any(isinstance(number, float) and not math.isfinite(number) for number in (a, b)):
            return False
        return abs(Fraction(a) - Fraction(b)) <= Fraction(self.number_error) * max(abs(Fraction(a)), abs(Fraction(b)))

    def _text(self, text: str) -> str:
        if "case" in self.tolerate:
            text = text.casefold()
        if "space" in self.tolerate:
            text = " ".join(text.split())
        return composed(text)


EXACT = Tolerance()


def composed(text: str) -> str:
    """Unicode normal form C."""
    return unicodedata.normalize("NFC", text)


def composed_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping with its keys in normal form C."""
    return {composed(key): value for key, value in values.items()}


def _both(pair: tuple[object, object]) -> tuple[tuple[object, object], tuple[object, object]]:
    return pair, pair[::-1]
