"""Sets of real numbers and what equations and inequalities say, by sympy; imported by worker processes only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import sympy  # type: ignore[import-untyped]
from sympy.solvers.inequalities import solve_univariate_inequality  # type: ignore[import-untyped]

from morl_math.structure import Chain, Expression, Group, Shape, Union

Read = Callable[[str], Any]
Equal = Callable[[Any, Any], bool]
Values = Callable[[Any, list[Any]], Iterator[Any]]

_SETS = {
    r"\mathbb{R}": sympy.S.Reals, r"\mathbb{Z}": sympy.S.Integers, r"\mathbb{Q}": sympy.S.Rationals,
    r"\mathbb{N}": sympy.S.Naturals, r"\mathbb{C}": sympy.S.Complexes,
}  # fmt: skip
_RELATIONS = {"=": sympy.Eq, "<": sympy.Lt, ">": sympy.Gt, "<=": sympy.Le, ">=": sympy.Ge, "!=": sympy.Ne}
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}
_UNNAMED = sympy.Symbol("unnamed", real=True)


def same_sets(first: Shape, second: Shape, read: Read, equal: Equal) -> bool:
    """Whether two sets are equal, and about the same variable where both name one."""
    one, other = _Set(read), _Set(read)
    left, right = one.of(first), other.of(second)
    if one.variables and other.variables and one.variables != other.variables:
        return False
    return left == right or _same_parts(left, right, equal) or left.symmetric_difference(right) is sympy.S.EmptySet


def same_relations(first: Chain, second: Chain, read: Read, equal: Equal, values: Values) -> bool:
    """Whether two equations or inequalities say the same: by a factor, or by their solutions in one variable."""
    if len(first.relations) == len(second.relations) == 1 and None not in (*first.sides, *second.sides):
        one, relation = _difference(first, read)
        other, another = _difference(second, read)
        symbols = sorted(one.free_symbols | other.free_symbols, key=str)
        if one.free_symbols != other.free_symbols or not symbols:
            return False
        if relation != another:
            other, another = -other, _FLIPPED[another]
        if relation == another:
            ratios = [
                top / bottom for top, bottom in values(sympy.Tuple(one, other), symbols) if bottom != 0 and top != 0
            ]
            fits = all(equal(ratio, ratios[0]) for ratio in ratios)
            if len(ratios) >= 3 and fits and (relation in ("=", "!=") or ratios[0].is_positive):
                return True
        if len(symbols) > 1 or relation == "=" or another == "=":
            return False
    return same_sets(first, second, read, equal)


def _difference(chain: Chain, read: Read) -> tuple[Any, str]:
    left, right = chain.sides
    if not (isinstance(left, Expression) and isinstance(right, Expression)):
        raise ValueError("no expressions")
    return read(left.text) - read(right.text), chain.relations[0]


class _Set:
    """Makes sets of shapes and remembers the variables in them."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.variables: set[Any] = set()

    def of(self, shape: Shape) -> Any:
        """The set of real numbers that a shape is.

        Raises:
            ValueError: it is none.
        """
        match shape:
            case Expression(text) if text in _SETS:
                return _SETS[text]
            case Group("{}", items):
                return sympy.FiniteSet(*(self._number(item) for item in items))
            case Group("", items, joint):
                sets = [self.of(item) for item in items]
                return sympy.Union(*sets) if joint == "or" else sympy.Intersection(*sets)
            case Group(brackets, (low, high)) if brackets in ("()", "[]", "[)", "(]"):
                return sympy.Interval(self._number(low), self._number(high), brackets[0] == "(", brackets[1] == ")")
            case Union(parts, operators):
                whole = self.of(parts[0])
                for operator, part in zip(operators, parts[1:], strict=True):
                    other = self.of(part)
                    join = {"|": sympy.Union, "&": sympy.Intersection, "-": sympy.Complement}[operator]
                    whole = join(whole, other)
                return whole
            case Chain(sides, (r"\in",)) if sides[1] is not None:
                if isinstance(sides[0], Expression):
                    self.variables |= self._read(sides[0].text).free_symbols
                return self.of(sides[1])
            case Chain(sides, relations):
                return self._solutions(sides, relations)
        raise ValueError(f"no set of numbers: {shape}")

    def _number(self, shape: Shape) -> Any:
        if not isinstance(shape, Expression):
            raise ValueError(f"no number: {shape}")
        return self._read(shape.text)

    def _solutions(self, sides: tuple[Shape | None, ...], relations: tuple[str, ...]) -> Any:
        terms = [_UNNAMED if side is None else self._number(side) for side in sides]
        found = sympy.S.Reals
        for left, relation, right in zip(terms, relations, terms[1:], strict=False):
            symbols = (left - right).free_symbols
            if len(symbols) != 1 or relation not in _RELATIONS:
                raise ValueError("not an inequality in one variable")
            (symbol,) = symbols
            self.variables |= symbols - {_UNNAMED}
            if relation in ("=", "!="):
                roots = sympy.solveset(left - right, symbol, sympy.S.Reals)
                solutions = roots if relation == "=" else sympy.S.Reals - roots
            else:
                statement = _RELATIONS[relation](left, right)
                if statement in (sympy.true, sympy.false):
                    solutions = sympy.S.Reals if statement else sympy.S.EmptySet
                else:
                    solutions = solve_univariate_inequality(statement, symbol, relational=False)
            found = sympy.Intersection(found, solutions)
        if len(self.variables) > 1:
            raise ValueError("several variables")
        return found


def _same_parts(left: Any, right: Any, equal: Equal) -> bool:
    """Whether two unions have the same intervals and points, whose ends may be written differently."""
    parts = [list(whole.args) if isinstance(whole, sympy.Union) else [whole] for whole in (left, right)]
    if len(parts[0]) != len(parts[1]):
        return False
    try:
        for one, other in zip(*(sorted(part, key=lambda piece: piece.inf) for part in parts), strict=True):
            if isinstance(one, sympy.Interval) and isinstance(other, sympy.Interval):
                fits = (one.left_open, one.right_open) == (other.left_open, other.right_open)
                if not (fits and equal(one.start, other.start) and equal(one.end, other.end)):
                    return False
            elif isinstance(one, sympy.FiniteSet) and isinstance(other, sympy.FiniteSet):
                points = [sorted(piece, key=lambda point: point.evalf()) for piece in (one, other)]
                if len(one) != len(other) or not all(map(equal, *points)):
                    return False
            else:
                return False
    except TypeError:  # ends that cannot be ordered
        return False
    return True
