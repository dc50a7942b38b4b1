"""Times of day and ratios, which are both written with a colon."""

from __future__ import annotations

import re
from fractions import Fraction

from attrs import frozen

from morl_math.arithmetic import evaluate

_TIME = re.compile(
    r"(?P<hour>\d{1,2})(?::(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?)?"
    r" ?(?:(?P<half>[ap])\.? ?m\.?|(?P<noon>noon|midnight))?",
    re.IGNORECASE,
)


@frozen
class Time:
    """A time of day.

    Attributes:
        clock: hour, minute and second as they were written.
        half: `a` or `p`, if it was said.
    """

    clock: tuple[int, int, int]
    half: str

    def equals(self, other: Time) -> bool:
        """Equal as they stand, where one does not say which half of the day; else by 24 hours."""
        by_24_hours = any(time.half or not 0 < time.clock[0] <= 12 for time in (self, other))
        if (self.half and other.half) or (by_24_hours and self.clock[0] != other.clock[0]):
            return self._seconds == other._seconds
        return self.clock == other.clock

    @property
    def _seconds(self) -> int:
        hour, minute, second = self.clock
        hour = hour % 12 + (12 if self.half == "p" else 0) if self.half else hour
        return 3600 * hour + 60 * minute + second


def read_time(text: str) -> Time | None:
    """`8:30`, `08:30:15`, `8 p.m.`; minutes have two digits, so 3:4 is none.

    >>> read_time("8:30 PM").equals(read_time("20:30")), read_time("8:30").equals(read_time("4:15")), read_time("3:4")
    (True, False, None)
    """
    found = _TIME.fullmatch(" ".join(re.sub(r"\\text\{([^{}]*)\}", r" \1", text).split()))
    if found is None or not (found["minute"] or found["half"] or found["noon"]):
        return None
    half = (found["half"] or {"noon": "p", "midnight": "a"}.get((found["noon"] or "").lower(), "")).lower()
    if int(found["hour"]) > (12 if half else 24):
        return None
    return Time((int(found["hour"]), int(found["minute"] or 0), int(found["second"] or 0)), half)


def read_ratio(text: str) -> tuple[Fraction, ...] | None:
    """The ratio `a:b:..` in terms of its last number; None for all else.

    >>> read_ratio("3:4") == read_ratio("6 : 8"), read_ratio("1:2:0")
    (True, None)
    """
    parts = text.replace(r"\colon", ":").split(":")
    if any(re.match(r" ?0\d", part) for part in parts):  # 7:05 is a time
        return None
    values = [evaluate(part) for part in parts]
    numbers = [value for value in values if value is not None]
    if len(values) < 2 or len(numbers) < len(values) or not numbers[-1]:
        return None
    return tuple(number / numbers[-1] for number in numbers[:-1])
