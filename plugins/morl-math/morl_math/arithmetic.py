"""Exact values of numbers and of arithmetic with numbers, without a computer algebra system.

A sympy process costs seconds to start and milliseconds per expression; most answers are numbers.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from attrs import define

_BITS = 1 << 15
"""No numerator, denominator or power grows beyond this: 2006! has 19,000 bits."""
_TOKENS = 400
_DEPTH = 40
_NUMBER = re.compile(
    r"(?P<whole>\d{1,3}(?:,\d{3})+(?![\d,])|\d+)?"
    r"(?:\.(?P<digits>\d*)(?:\\(?:overline|bar|dot)\{(?P<barred>\d+)\}|\((?P<bracketed>\d+)\)|(?P<dots> ?\.\.\.))?)?"
)
_REPEATED = re.compile(r"(\d+?)\1+")
_TOKEN = re.compile(r"\\(?:frac|binom|cdot|times|div)(?![A-Za-z])|[-+*/^!(){}]")
_MULTIPLY = {"*", r"\cdot", r"\times"}
_DIVIDE = {"/", r"\div"}
_OPENS = {"(", "{", r"\frac", r"\binom"}


class _Unreadable(ValueError):
    """Not arithmetic, or too large."""


def evaluate(text: str) -> Fraction | None:
    """The value of a number or of sums, products, quotients, powers and factorials of numbers; None for all else.

    Two numbers side by side are none; a whole number before a fraction makes a mixed number.

    >>> evaluate("2^{10} - 24"), evaluate("2 \\\\frac{1}{2}"), evaluate("0.\\\\overline{3}"), evaluate("1 2")
    (Fraction(1000, 1), Fraction(5, 2), Fraction(1, 3), None)
    """
    try:
        tokens = _tokens(text)
        if len(tokens) > _TOKENS:
            return None
        parser = _Parser(tokens)
        value = parser.sum(0)
        return value if parser.at_end else None
    except (_Unreadable, ZeroDivisionError, OverflowError):
        return None


def _tokens(text: str) -> list[Fraction | str]:
    tokens: list[Fraction | str] = []
    position = 0
    while position < len(text):
        if text[position] == " ":
            position += 1
        elif token := _TOKEN.match(text, position):
            tokens.append(token[0])
            position = token.end()
        else:
            number = _NUMBER.match(text, position)
            if number is None or not (number["whole"] or number["digits"] or number["barred"] or number["bracketed"]):
                raise _Unreadable
            tokens.append(_decimal(number))
            position = number.end()
    return tokens


def _decimal(found: re.Match[str]) -> Fraction:
    """A decimal number; a repeating one by its bar, its brackets, or three dots after a block that came twice."""
    whole, digits = (found["whole"] or "0").replace(",", ""), found["digits"] or ""
    if len(whole) + len(digits) > 4000:  # Python converts no longer ones
        raise _Unreadable
    block = found["barred"] or found["bracketed"] or ""
    if found["dots"]:
        # 0.1666.. repeats 6, not 66: the shortest block that ends the digits at least twice.
        blocks = [
            again
            for start in range(max(0, len(digits) - 60), len(digits))
            if (again := _REPEATED.fullmatch(digits, start))
        ]
        if not blocks:
            raise _Unreadable
        digits, block = digits[: blocks[0].start()], blocks[0][1]
    value = Fraction(int(whole + digits), 10 ** len(digits))
    return value + (Fraction(int(block), 10 ** len(digits) * (10 ** len(block) - 1)) if block else 0)


@define
class _Parser:
    """Recursive descent; each method reads one level and leaves the position after it."""

    tokens: list[Fraction | str]
    position: int = 0

    @property
    def next(self) -> Fraction | str | None:
        return None if self.at_end else self.tokens[self.position]

    @property
    def at_end(self) -> bool:
        return self.position >= len(self.tokens)

    def take(self, token: str) -> None:
        if self.next != token:
            raise _Unreadable
        self.position += 1

    def sum(self, depth: int) -> Fraction:
        if depth > _DEPTH:
            raise _Unreadable
        value = self.signed(depth)
        while self.next in ("+", "-"):
            minus = self.next == "-"
            self.position += 1
            other = self.product(depth)
            value = _checked(value - other if minus else value + other)
        return value

    def signed(self, depth: int) -> Fraction:
        """A product after at most one sign: `+-5` is nothing."""
        if self.next in ("+", "-"):
            minus = self.next == "-"
            self.position += 1
            value = self.product(depth)
            return -value if minus else value
        return self.product(depth)

    def product(self, depth: int) -> Fraction:
        value = self.mixed(depth)
        divided = False
        while True:
            operator = self.next
            if operator in _MULTIPLY or operator in _DIVIDE:
                self.position += 1
                minus = self.next == "-"
                self.position += minus
                other = self.power(depth) if not minus else -self.power(depth)
                value = _checked(value / other if operator in _DIVIDE else value * other)
                divided = operator in _DIVIDE
            elif operator in _OPENS and not divided:  # 1/2(3) is written for two things
                value = _checked(value * self.power(depth))
            else:
                return value

    def mixed(self, depth: int) -> Fraction:
        """`2 \\frac{1}{2}` and `2 1/2`: a whole number and a proper fraction."""
        start = self.position
        whole = self.next
        if isinstance(whole, Fraction) and whole.denominator == 1 and start + 1 < len(self.tokens):
            after = self.tokens[start + 1 :]
            if after[0] == r"\frac":
                self.position += 1
                fraction = self.power(depth)
                if 0 < fraction < 1:
                    return whole + fraction
                self.position = start
            elif (
                len(after) >= 3
                and isinstance(after[0], Fraction)
                and after[1] == "/"
                and isinstance(after[2], Fraction)
            ):
                fraction = after[0] / after[2]
                if not 0 < fraction < 1 or after[3:4] not in ([], [")"], ["}"], ["+"], ["-"]):
                    raise _Unreadable
                self.position += 4
                return whole + fraction
        return self.power(depth)

    def power(self, depth: int) -> Fraction:
        value = self.primary(depth)
        raised = factorial = False
        while self.next in ("^", "!"):
            if self.next == "!":
                if factorial or value.denominator != 1 or not 0 <= value <= 5000:  # `5!!` is another thing than (5!)!
                    raise _Unreadable
                factorial = True
                self.position += 1
                value = Fraction(math.factorial(int(value)))
                continue
            if raised:
                raise _Unreadable
            raised = True
            self.position += 1
            exponent = self.group(depth) if self.next == "{" else self.primary(depth)
            value = _raise(value, exponent)
        return _checked(value)

    def primary(self, depth: int) -> Fraction:
        token = self.next
        if isinstance(token, Fraction):
            self.position += 1
            return token
        if token == "(":
            self.position += 1
            value = self.sum(depth + 1)
            self.take(")")
            return value
        if token == "{":
            return self.group(depth)
        if token in (r"\frac", r"\binom"):
            self.position += 1
            above, below = self.group(depth), self.group(depth)
            return above / below if token == r"\frac" else _binomial(above, below)
        raise _Unreadable

    def group(self, depth: int) -> Fraction:
        self.take("{")
        value = self.sum(depth + 1)
        self.take("}")
        return value


def _raise(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1 or (base == 0 and exponent <= 0):
        raise _Unreadable
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(exponent) * size > _BITS and abs(base) != 1 and base != 0:
        raise _Unreadable
    return base ** int(exponent)


def _binomial(above: Fraction, below: Fraction) -> Fraction:
    if above.denominator != 1 or below.denominator != 1 or not 0 <= below <= above <= 10_000:
        raise _Unreadable
    return Fraction(math.comb(int(above), int(below)))


def _checked(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _BITS:
        raise _Unreadable
    return value
