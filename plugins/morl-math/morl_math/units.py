"""Units from a list: the words that may follow a number, and what they make of it."""

from __future__ import annotations

import functools
import re
from collections import Counter
from fractions import Fraction
from importlib.resources import files

from attrs import frozen

_SCALES = {
    "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "quadrillion": 10**15,
    "dozen": 12, "lakh": 10**5, "crore": 10**7,
}  # fmt: skip
_CURRENCIES = frozenset({"usd", "eur", "gbp", "yen", "inr"})
_JOINTS = frozenset(["a", "an", "the", "of", "in", "at", "on", "by", "for", "from", "to", "with"])
_FILLERS = frozenset(
    [
        "each",
        "every",
        "left",
        "remaining",
        "total",
        "altogether",
        "all",
        "together",
        "together",
        "apiece",
        "old",
        "new",
        "long",
        "tall",
        "high",
        "wide",
        "deep",
        "away",
        "now",
        "today",
        "more-in-total",
        "his",
        "her",
        "their",
        "its",
        "our",
        "my",
        "your",
        "them",
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
        "year",
        "week",
        "day",
        "weekend",
        "red",
        "blue",
        "green",
        "yellow",
        "black",
        "white",
        "orange",
        "purple",
        "pink",
        "brown",
        "silver",
        "gold",
        "golden",
        "gray",
        "grey",
        "large",
        "small",
        "big",
        "little",
        "extra",
        "full",
        "whole",
        "different",
        "distinct",
        "real",
        "positive",
        "negative",
        "male",
        "female",
        "adult",
        "young",
        "first",
        "second-hand",
    ]
)
_TOKEN = re.compile(
    r"\\text\{(?P<upright>[^{}]*)\}|(?P<degree>\^\\circ|\\circ|\\degree)|\^\{?(?P<power>-?\d)\}?|(?P<percent>%)"
    r"|(?P<currency>\\?\$|[€£¥₹])|(?P<per>/)|(?P<times>\\cdot|\\times|\*|-(?=[A-Za-z]))|(?P<word>[^\W\d_]+(?:[-'.][^\W\d_]+)*)\.?"
)
_RISKY = frozenset({"nm", "ms", "dm", "ha", "dl", "cl", "kl", "mo"})
"""Abbreviations that could as well be products of variables; single letters are, too."""
_USUAL = frozenset(["m", "g", "s", "h", "L", "l", "N", "J", "W", "V"])
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "squared": 2, "cubed": 3}


@frozen
class Unit:
    """What follows a number.

    Attributes:
        scale: million and the like, which belong to the number.
        size: in terms of the base units of its dimensions.
        dimensions: with their exponents; empty where no unit was given, or one that only counts.
        percent: a percent sign.
        counts: things were named.
        bare: letters that may be variables as well, as in `5m`; after a space, `5 m`, the usual units are units.
    """

    scale: Fraction = Fraction(1)
    size: Fraction = Fraction(1)
    dimensions: frozenset[tuple[str, int]] = frozenset()
    percent: bool = False
    counts: bool = False
    bare: bool = False

    def fits(self, other: Unit) -> bool:
        """Whether numbers with these two units can be equal: a missing unit is not missed."""
        if self.bare != other.bare and not (self.dimensions and other.dimensions):
            return False  # 5 and 5 m: a product of 5 and a variable
        if self.dimensions and other.dimensions:
            return self.dimensions == other.dimensions
        return not ((self.dimensions and other.counts) or (other.dimensions and self.counts))


def read_unit(text: str, *, variables: bool = True) -> Unit | None:
    """The unit that a text after a number is; None where it is anything else.

    Args:
        text: as `clean` leaves it, such as ` \\\\text{ km}/h`, ` million dollars`, ` apples`, `%`.
        variables: single letters may be variables.

    >>> read_unit(" km/h") == read_unit("\\\\text{kilometers per hour}"), read_unit(" or so") is None
    (True, True)
    """
    reader = _Reader()
    spaced = text.startswith(" ")
    position, text = 0, text.strip()
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            if text[position] not in " ,.()" or (text[position] in "()" and not reader.sizes):
                return None
            position += 1
            continue
        position = token.end()
        kind = token.lastgroup
        assert kind is not None
        if kind == "upright":
            for part in _TOKEN.finditer(token[kind]):
                if part.lastgroup is None or not reader.take(part.lastgroup, part[part.lastgroup], upright=True):
                    return None
            if re.sub(r"[\s.,]", "", _TOKEN.sub("", token[kind])):
                return None
        elif not reader.take(
            kind,
            token[kind],
            upright=not variables or (spaced and token[kind] in _USUAL),
            last=text[position:].lstrip()[:1] in ("", "^", "/", "."),
        ):
            return None
    return reader.unit()


class _Reader:
    """Takes the tokens of a unit one by one."""

    def __init__(self) -> None:
        self.scale = Fraction(1)
        self.sizes: list[tuple[str, Fraction, int]] = []
        self.percent = self.counts = self.clear = self.open = False
        self._sign, self._power = 1, 1

    def take(self, kind: str, token: str, *, upright: bool, last: bool = True) -> bool:
        """Whether the token belongs here."""
        if kind == "degree":
            self.clear = True
            return self._unit("angle", Fraction(1))
        if kind == "percent" or token.lower() in ("percent", "percentage", "pct"):
            fits = not (self.percent or self.sizes or self.counts)
            self.percent = True
            return fits
        if kind == "currency":
            return self._word(token.removeprefix("\\"), True, last)
        if kind == "power":
            return self._raise(int(token))
        if kind == "per":
            self._sign = -1
            return True
        return kind == "times" or self._word(token, upright, last)

    def _word(self, word: str, upright: bool, last: bool) -> bool:
        lower = word.lower()
        if lower in _SCALES or (lower.endswith("s") and lower[:-1] in _SCALES):
            fits = not (self.counts or self.percent) and all(name in _CURRENCIES for name, _, _ in self.sizes)
            self.scale *= _SCALES[lower.removesuffix("s")]
            return fits
        if lower == "per":
            self._sign = -1
            return True
        if lower in ("squared", "cubed"):
            return self._raise(_POWERS[lower])
        if lower in _POWERS:
            self._power = _POWERS[lower]
            return True
        if lower == "in" and not last:
            self.open = True
            return True
        found = _units().get(word) or _units().get(lower) or _units().get(_singular(lower))
        if found is not None and not (len(lower) == 1 and word not in _units()):
            if lower in ("celsius", "fahrenheit", "c", "f") and self.sizes and self.sizes[-1][0] == "angle":
                self.sizes.pop()
            self.clear |= upright or word in "$€£¥₹" or not (len(word) == 1 or word in _RISKY)
            return self._unit(*found)
        self.open = lower in _JOINTS
        self.counts |= _counts(lower)
        return _counts(lower) or lower in _FILLERS or lower in _JOINTS

    def _unit(self, dimension: str, size: Fraction) -> bool:
        if dimension not in _CURRENCIES or all(dimension != name for name, _, _ in self.sizes):  # $5 dollars
            self.sizes.append((dimension, size, self._sign * self._power))
        self._sign = self._power = 1
        self.open = False
        return True

    def _raise(self, power: int) -> bool:
        if not self.sizes or self.sizes[-1][0] in _CURRENCIES or abs(self.sizes[-1][2]) != 1:
            return False
        dimension, size, sign = self.sizes.pop()
        self.sizes.append((dimension, size, sign * power))
        return True

    def unit(self) -> Unit | None:
        if self._power != 1 or self._sign != 1 or self.open:  # "12 square", "5 per", "5 of": something is missing
            return None
        size, exponents = Fraction(1), Counter[str]()
        for dimension, factor, exponent in self.sizes:
            if dimension != "any":
                size *= factor**exponent
                for part, times in _PARTS.get(dimension, ((dimension, 1),)):
                    exponents[part] += times * exponent
        dimensions = frozenset((name, exponent) for name, exponent in exponents.items() if exponent)
        return Unit(
            self.scale,
            size,
            dimensions,
            self.percent,
            self.counts and not dimensions,
            bool(self.sizes) and not self.clear,
        )


_PARTS = {"speed": (("length", 1), ("time", -1)), "volume": (("length", 3),)}


@functools.cache
def _units() -> dict[str, tuple[str, Fraction]]:
    """Dimension and size of each unit by its name."""
    table: dict[str, tuple[str, Fraction]] = {}
    for line in _lines("units.txt"):
        dimension, _, units = line.partition(": ")
        for unit in units.split("; "):
            size, *names = unit.split()
            factor = Fraction(size) / (1000 if dimension == "volume" else 1)  # a litre is 1/1000 cubic metre
            table.update(dict.fromkeys(names, (dimension, factor)))
    return table


@functools.cache
def _nouns() -> frozenset[str]:
    return frozenset(" ".join(_lines("nouns.txt")).split())


def _lines(name: str) -> list[str]:
    text = files("morl_math").joinpath("data", name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


def _counts(word: str) -> bool:
    """Whether the word is a noun of the list, in singular or plural."""
    plural = (
        word[:-1] + "ies"
        if word.endswith("y")
        else word + ("es" if word.endswith(("s", "x", "z", "ch", "sh", "o")) else "s")
    )
    return not _nouns().isdisjoint((word, plural, word + "s"))


def _singular(word: str) -> str:
    return word.removesuffix("s") if len(word) > 3 else word
