"""Numbers in a base, such as `2516_8`; math-verify does not look at the base."""

from __future__ import annotations

import re

from attrs import frozen

from morl_math.arithmetic import evaluate

_NUMBER = re.compile(
    r"(?:\\text\{)? ?(?P<digits>[0-9A-Fa-f]+) ?\}?_ ?\{ ?(?:\\text\{)? ?(?P<base>\d{1,2}|[a-z]+) ?\}?\}", re.IGNORECASE
)
_WORDS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
}  # fmt: skip


@frozen
class Based:
    """Digits and their base."""

    digits: str
    base: int

    def equals(self, other: Based) -> bool:
        """The same digits in the same base: `11_{10}` is no answer where the base 2 was asked for."""
        return self == other

    def is_written(self, text: str) -> bool:
        """Whether a text has these digits; a missing base is not missed."""
        return re.sub(r"\\text\{([^{}]*)\}|\s", r"\1", text).lower().lstrip("0") == self.digits

    def is_value_of(self, text: str) -> bool:
        """Whether a number without a base is this one."""
        return evaluate(text) == int(self.digits or "0", self.base)


def read_in_base(text: str) -> Based | None:
    """A number in a base from 2 to 36, whose digits belong to it.

    >>> read_in_base("1011_{2}"), read_in_base("x_{1}")
    (Based(digits='1011', base=2), None)
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    base = int(found["base"]) if found["base"].isdigit() else _WORDS.get(found["base"].lower(), 0)
    if not 2 <= base <= 36 or len(found["digits"]) > 300:
        return None
    try:
        int(found["digits"], base)
    except ValueError:
        return None
    return Based(found["digits"].lower().lstrip("0"), base)
