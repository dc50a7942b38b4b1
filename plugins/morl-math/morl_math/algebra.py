"""Equality of expressions by sympy; imported by worker processes only.

math-verify's parser reads the expressions.  The decision is ours: math-verify compares to 6 decimals, so that 10^-20
and 10^-21 are one number to it.  Here numbers are equal when they are exactly, or to more digits than the two texts
have characters, which no decimal fraction within them can imitate.  Expressions with variables are equal when they are
at several points; that is cheaper than to simplify their difference, and an expression that differs somewhere differs
almost everywhere.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import sympy  # type: ignore[import-untyped]
from latex2sympy2_extended import latex2sympy  # type: ignore[import-untyped]
from latex2sympy2_extended.latex2sympy2 import ConversionConfig  # type: ignore[import-untyped]

from morl_math.solutions import same_relations, same_sets
from morl_math.structure import Chain, Shape, expressions
from morl_math.texts import is_rounded, readable_parts

_SIDE_BY_SIDE = re.compile(r"\d +[\d.]")
_SIGNS = re.compile(r"[+-] *[+-]|!!")
_MIXED = re.compile(r"(?<![\d.^_{}])(\d+) *\\frac\{(\d+)\}\{(\d+)\}")
_DECIMAL = re.compile(r"-? ?\d*\.?\d+")
_MIN_DIGITS = 30
_MAX_DIGITS = 2500
_POINTS = (
    (sympy.Rational(37, 17), sympy.Rational(-23, 19), sympy.Rational(41, 29), sympy.Rational(-53, 13)),
    (sympy.Rational(-31, 23), sympy.Rational(59, 37), sympy.Rational(-7, 43), sympy.Rational(11, 31)),
    (sympy.Rational(5, 47), sympy.Rational(67, 41), sympy.Rational(83, 53), sympy.Rational(13, 7)),
    (sympy.Rational(-211, 19), sympy.Rational(-17, 61), sympy.Rational(-97, 11), sympy.Rational(-3, 71)),
    (sympy.Rational(127, 3), sympy.Rational(263, 7), sympy.Rational(-19, 73), sympy.Rational(311, 5)),
    (sympy.Rational(9, 79), sympy.Rational(3, 83), sympy.Rational(2, 89), sympy.Rational(1, 97)),
)
_WHOLE_POINTS = ((3, 2, 5, 4), (4, 7, 2, 3), (7, 5, 3, 11), (10, 3, 8, 5), (13, 11, 6, 2))
_ON_WHOLE_NUMBERS = (sympy.Sum, sympy.Product, sympy.Mod, sympy.floor, sympy.ceiling)


class Unreadable(ValueError):
    """Not an expression."""


@functools.lru_cache(maxsize=512)
def read(text: str) -> Any:
    """The text as a sympy expression or matrix.

    Raises:
        Unreadable: it is none.
    """
    if _SIDE_BY_SIDE.search(text) or _SIGNS.search(text):
        raise Unreadable(text)
    text = _MIXED.sub(_improper, text).replace(r"^\circ", r"^{\circ}")
    try:
        found = latex2sympy(
            text,
            is_real=True,
            convert_degrees=True,
            normalization_config=None,
            conversion_config=ConversionConfig(lowercase_symbols=False),
        )
        if not isinstance(found, (sympy.Expr, sympy.MatrixBase)):
            raise Unreadable(text)
        found = found.subs({sympy.Symbol("i", real=True): sympy.I, sympy.EulerGamma: sympy.Symbol("gamma", real=True)})
        found = found.replace(lambda part: part.is_Float, lambda part: sympy.Rational(str(part)))
        found = found.replace(_is_odd_root, _real_root)
        found = found.doit()
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(text) from error
    if not isinstance(found, sympy.MatrixBase) and found.has(sympy.nan, sympy.zoo):
        raise Unreadable(text)
    return found


def same(first: str, second: str, by: Fraction) -> bool:
    """Whether the first expression equals the second times a number.

    Raises:
        Unreadable: one cannot be read.
    """
    one, other = read(first), read(second)
    digits = min(_MAX_DIGITS, _MIN_DIGITS + len(first) + len(second))
    return equal(one, other * sympy.Rational(by.numerator, by.denominator), digits)


def close(exact: str, rounded: str) -> bool:
    """Whether a decimal number is an expression's, rounded."""
    value = read(exact)
    if not _DECIMAL.fullmatch(rounded) or value.free_symbols or not value.is_extended_real:
        return False
    return is_rounded(Fraction(str(value.evalf(40))), rounded)


def equal(one: Any, other: Any, digits: int = 60) -> bool:
    """Whether two expressions or matrices are equal."""
    if one == other:
        return True
    if isinstance(one, sympy.MatrixBase) or isinstance(other, sympy.MatrixBase):
        matrices = (
            isinstance(one, sympy.MatrixBase) and isinstance(other, sympy.MatrixBase) and one.shape == other.shape
        )
        return matrices and all(equal(first, second, digits) for first, second in zip(one, other, strict=True))
    if one.has(sympy.oo, -sympy.oo) or other.has(sympy.oo, -sympy.oo):
        return bool(one == other)
    symbols = sorted(one.free_symbols | other.free_symbols, key=str)
    if not symbols:
        return _equal_numbers(one, other, digits)
    if one.atoms(sympy.core.function.AppliedUndef) or other.atoms(sympy.core.function.AppliedUndef):
        return bool(sympy.simplify(one - other) == 0)
    found = [verdict for verdict in _at_points(one, other, symbols) if verdict is not None]
    return len(found) >= 3 and all(found)


def values(expression: Any, symbols: list[Any]) -> Iterator[Any]:
    """Its values where the symbols have the coordinates of some points."""
    whole = expression.has(*_ON_WHOLE_NUMBERS) or any(
        power.base.is_number and power.base.is_negative and power.exp.free_symbols
        for power in expression.atoms(sympy.Pow)
    )
    for point in _WHOLE_POINTS if whole else _POINTS:
        # Of many symbols each gets another value, so that no two of them can change places.
        at = {symbol: point[k % 4] + k // 4 for k, symbol in enumerate(symbols)}
        yield expression.subs(at).doit()


def _at_points(one: Any, other: Any, symbols: list[Any]) -> Iterator[bool | None]:
    """Whether the two are equal at each point, until one where they are not; None where they have no value."""
    pair = sympy.Tuple(one, other)
    for first, second in values(pair, symbols):
        if first.has(sympy.nan, sympy.zoo, sympy.oo) or second.has(sympy.nan, sympy.zoo, sympy.oo):
            yield (
                None
                if first == second or (first.has(sympy.zoo, sympy.nan) and second.has(sympy.zoo, sympy.nan))
                else False
            )
            continue
        verdict = _equal_numbers(first, second, _MIN_DIGITS)
        yield verdict
        if not verdict:
            return


def _equal_numbers(one: Any, other: Any, digits: int) -> bool:
    if one.is_Rational and other.is_Rational:
        return bool(one == other)
    difference = one - other
    if difference == 0:
        return True
    first, second = (sympy.N(number, digits, maxn=20 * digits) for number in (one, other))
    if not (first.is_number and second.is_number) or first.atoms(sympy.Symbol) or second.atoms(sympy.Symbol):
        raise Unreadable(str(one))
    apart = abs(sympy.N(difference, 15, maxn=20 * digits))
    sizes = abs(first), abs(second), apart
    if not all(size.is_Float or size.is_Integer for size in sizes):
        raise Unreadable(str(difference))
    tiny = sympy.Float(10) ** (5 - digits)
    if max(sizes) <= tiny and not (one.is_Rational and other.is_Rational):
        # Nothing can be said relatively of zero itself, as in sqrt(2)^2 - 2.
        return bool(sympy.simplify(difference) == 0)
    return bool(apart <= max(sizes) * tiny)


def _improper(found: re.Match[str]) -> str:
    whole, above, below = (int(number) for number in found.groups())
    return rf"\frac{{{whole * below + above}}}{{{below}}}" if 0 < above < below else found[0]


def _is_odd_root(part: Any) -> bool:
    if not part.is_Pow or not part.exp.is_Rational:
        return False
    return bool(part.exp.q % 2 == 1 and part.exp.q > 1 and part.base.is_extended_real)


def _real_root(part: Any) -> Any:
    """The real one: the cube root of -8 is -2."""
    root = sympy.sign(part.base) * sympy.Abs(part.base) ** sympy.Rational(1, part.exp.q)
    return root**part.exp.p


class SympyAlgebra:
    """Decides what `morl_math.compare` asks."""

    def same(self, first: str, second: str, by: Fraction) -> bool:
        return same(first, second, by)

    def close(self, exact: str, rounded: str) -> bool:
        return close(exact, rounded)

    def sets(self, first: Shape, second: Shape) -> bool:
        return same_sets(first, second, read, equal)

    def relations(self, first: Chain, second: Chain) -> bool:
        return same_relations(first, second, read, equal, values)


def check(reference: Shape) -> None:
    """Reads all expressions of a reference.

    Raises:
        Unreadable: one cannot be read.
    """
    for text in expressions(reference):
        for part in readable_parts(text):
            read(part)
