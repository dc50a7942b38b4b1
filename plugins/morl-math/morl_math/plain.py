"""Plain numbers: read and compared exactly, without a computer algebra system."""

from __future__ import annotations

import re
from fractions import Fraction

from attrs import frozen

_INTEGER = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_DECIMAL = rf"(?:{_INTEGER}(?:\.\d*)?|\.\d+)"
_LATEX_FRACTION = r"\\[dt]?frac ?(?:\{(?P<a>\d+)\} ?\{(?P<b>\d+)\}|(?P<c>\d) ?(?P<d>\d))"
_FRACTION = rf"(?:(?P<above>\d+) ?/ ?(?P<below>\d+)|{_LATEX_FRACTION})"
_NUMBER = re.compile(
    r"(?P<sign>[+-]?) ?(?:\\?[$]|[€£¥₹])? ?(?P<inner>[+-]?) ?"
    rf"(?:(?:(?P<whole>\d+)(?: |(?=\\)))?{_FRACTION}|(?P<decimal>{_DECIMAL})(?:[eE](?P<exponent>[+-]?\d{{1,3}}))?)"
    r"(?: ?(?P<percent>\\?%|percent))?(?:[€£¥₹])?"
)
_UNIT = re.compile(r" ?(?:\\(?:text|mathrm|textrm|mbox) ?\{[^{}\\\d]*\}|\^ ?\{?\\circ ?\}?)| [^\W\d_]{3}[^\d=+*/^\\]*")
_LOOSE_UNIT = re.compile(r"(?: ?[^\W\d_]{2}| [^\W\d_]|\^ ?\\circ)[^\d=+*/^]*|[*]*")
_BASE = re.compile(r"(?P<digits>[0-9A-Fa-f]+)_ ?(?:\{(?P<braced>\d+)\}|(?P<bare>\d))")


@frozen
class PlainNumber:
    """A rational number as it was written.

    Attributes:
        value: without regard to a percent sign.
        percent: whether it bore one.
    """

    value: Fraction
    percent: bool = False

    def equals(self, other: PlainNumber) -> bool:
        """Exactly equal; 50% equals 50 as well as 0.5, but only where one of the two bears the sign."""
        if self.value == other.value or self.percent == other.percent:
            return self.value == other.value
        percent, bare = (self, other) if self.percent else (other, self)
        return percent.value == 100 * bare.value


def read_number(text: str, *, any_unit: bool = False) -> PlainNumber | None:
    """A number that stands alone, up to a unit; None for everything else.

    Integers with or without thousands commas, decimals, simple and mixed fractions, powers of ten as in `1e6`; a sign,
    a currency, a percent sign.

    Args:
        text: as `clean` returns it.
        any_unit: let any words follow, where letters cannot be variables.

    >>> read_number("-1,450,000.5").value, read_number("2 1/2").value, read_number("12,34"), read_number("2 3")
    (Fraction(-2900001, 2), Fraction(5, 2), None, None)
    """
    found = _NUMBER.match(text)
    if found is None:
        return None
    unit = text[found.end() :]
    if unit and not (_UNIT.fullmatch(unit) or (any_unit and _LOOSE_UNIT.fullmatch(unit))):
        return None
    if found["sign"] and found["inner"]:
        return None
    if found["decimal"] is None:
        above = found["above"] or found["a"] or found["c"]
        below = int(found["below"] or found["b"] or found["d"])
        if below == 0:
            return None
        value = int(found["whole"] or 0) + Fraction(int(above), below)
    else:
        value = Fraction(found["decimal"].replace(",", "")) * Fraction(10) ** int(found["exponent"] or 0)
    negative = "-" in (found["sign"], found["inner"])
    return PlainNumber(-value if negative else value, bool(found["percent"]))


def read_in_base(text: str) -> tuple[str, str] | None:
    """Digits and base of a number such as `2516_8`; math-verify does not look at the base."""
    found = _BASE.fullmatch(text)
    return (found["digits"].lower(), found["braced"] or found["bare"]) if found else None
