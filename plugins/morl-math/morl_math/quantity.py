"""Numbers with what may stand around them: signs, currencies, percent signs, units."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from fractions import Fraction

from attrs import frozen

from morl_math.arithmetic import evaluate
from morl_math.units import Unit, read_unit
from morl_math.words import number_in_words

_PREFIX = re.compile(
    r"(?P<sign>[+-]?) ?(?P<currency>(?:US)?\\?\$|[€£¥₹]|(?:USD|EUR|GBP|Rs\.?)(?= ?\d)) ?(?P<inner>[+-]?)(?=[ \d.])"
)
_BODY = re.compile(r"(?:\\(?:frac|binom|cdot|times|div|overline|bar|dot)(?![A-Za-z])|[\d .,+\-*/^!(){}])*")
_SUFFIX = re.compile(
    r"(?P<body>.*?[^\s^({+\-*/])(?P<unit>\s*(?:(?:\\text\{[^{}]*\}|%|(?:\^\\circ)|(?<=[\d}\s)])[A-Za-z]{2,}\b)"
    r"(?:\^\{-?\d\})?[ /]*(?:(?<=[ /])[A-Za-z]+)*)+)"
)
_ANGLE = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_GLOSS = re.compile(r" ?\((?P<words>[A-Za-z -]+)\)$")

Bodies = Callable[[str, str, Fraction], bool]
"""Whether the first expression equals the second times a number."""


@frozen
class Quantity:
    """A number or an expression with its unit.

    Attributes:
        body: text of the number.
        value: exact, where the text is arithmetic.
        unit: what stood around it.
    """

    body: str
    value: Fraction | None
    unit: Unit

    def equals(self, other: Quantity, bodies: Bodies) -> bool:
        """Exactly equal; 50% equals 50 as well as 0.5, but only where one of the two bears the sign.

        Args:
            other: the answer.
            bodies: compares what is no arithmetic.
        """
        if not self.unit.fits(other.unit):
            return False
        ratio = other.unit.scale / self.unit.scale
        if self.unit.dimensions and other.unit.dimensions:
            ratio *= other.unit.size / self.unit.size
        ratios = [ratio]
        if self.unit.percent != other.unit.percent:
            ratios.append(ratio / 100 if other.unit.percent else ratio * 100)
        if self.value is not None and other.value is not None:
            return any(self.value == other.value * by for by in ratios)
        return any(bodies(self.body, other.body, by) for by in ratios)


@functools.lru_cache(maxsize=4096)
def read_number(text: str, *, variables: bool = True) -> Quantity | None:
    """A number, or arithmetic with numbers, that stands alone up to its unit; None for everything else.

    Args:
        text: as `clean` returns it.
        variables: single letters may be variables, so `5 m` is no plain number.

    >>> read_number("-1,450,000.5").value, read_number("12 (twelve)").value, read_number("5 or 6"), read_number("2 3")
    (Fraction(-2900001, 2), Fraction(12, 1), None, None)
    """
    if gloss := _GLOSS.search(text):
        said, number = number_in_words(gloss["words"]), read_number(text[: gloss.start()], variables=variables)
        return number if number is not None and said is not None and number.value == said else None
    in_words = number_in_words(text)
    if in_words is not None:
        return Quantity(text, in_words, Unit())
    text, currency = _currency(text)
    body = _BODY.match(text)
    assert body is not None
    end = len(body[0].rstrip(" ^({/*,"))
    while end > 0:  # a bracket or period at the end of the number may belong to its unit
        value = evaluate(text[:end])
        if value is not None:
            break
        return _words_then_unit(text) if end == 0 else None
    else:
        return _words_then_unit(text)
    unit = read_unit(currency + text[end:], variables=variables)
    return None if unit is None else Quantity(text[:end], value, unit)


def read_expression(text: str) -> Quantity:
    """Any expression, with the unit, percent sign or currency taken from it."""
    text, currency = _currency(text)
    found = _SUFFIX.fullmatch(text)
    if found is not None and "circ" in found["unit"] and _ANGLE.search(found["body"]):
        found = None  # the sine of 30 degrees
    if found is not None and (unit := read_unit(currency + found["unit"])) is not None and not unit.bare:
        return Quantity(found["body"].strip(), evaluate(found["body"]), unit)
    return Quantity(text, None, read_unit(currency) or Unit())


def _currency(text: str) -> tuple[str, str]:
    """The text without a leading currency, and the latter."""
    found = _PREFIX.match(text)
    if found is None or (found["sign"] and found["inner"]):
        return text, ""
    sign = found["sign"] or found["inner"]
    return sign + text[found.end() :].lstrip(), found["currency"].removeprefix("US").rstrip(".") + " "


def _words_then_unit(text: str) -> Quantity | None:
    """`twelve apples`."""
    words = text.split(" ")
    for count in range(min(len(words) - 1, 6), 0, -1):
        value = number_in_words(" ".join(words[:count]))
        if value is not None:
            unit = read_unit(" ".join(words[count:]))
            return None if unit is None else Quantity(text, value, unit)
    return None
