"""Whether two answers are equal, by their outlines; what takes algebra is asked of an `Algebra`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

from attrs import frozen

from morl_math.arithmetic import evaluate
from morl_math.base import read_in_base
from morl_math.clock import read_ratio, read_time
from morl_math.quantity import read_expression, read_number
from morl_math.structure import Chain, Expression, Group, Matrix, Shape, Union
from morl_math.words import is_word, letters, same_letters

_INEQUALITIES = {"<", ">", "<=", ">=", "!="}
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!=", "=": "="}
_CALL = re.compile(r"\\?[A-Za-z]+(?:_\{[^{}]*\})?'*(?:\^\{-?1\})? ?\(.*\)")
_SCRIPTS = re.compile(r"_\{[^{}]*\}|\\mathbb\{[A-Z]\}")
_DENIALS = re.compile(r"\b(?:not|no|never|wrong|false|except|but|isn't|incorrect)\b", re.IGNORECASE)
_MODULAR = re.compile(r"(.+?) *\\pmod\{(.+)\}")
_CONSTANTS = re.compile(r"\\(?:pi|infty|emptyset)(?![A-Za-z])")
_NUMBER_SETS = re.compile(r"\\mathbb\{[RQZNC]\}")


class Undecided(Exception):
    """It takes algebra, and there is none here."""


class FalseStatement(ValueError):
    """An equation between numbers that does not hold."""


class Algebra(Protocol):
    """What needs a computer algebra system.

    Any method may raise a ValueError for a text that cannot be read.
    """

    def same(self, first: str, second: str, by: Fraction) -> bool:
        """Whether the first expression equals the second times `by`."""

    def close(self, exact: str, rounded: str) -> bool:
        """Whether a decimal number is an expression's, rounded."""

    def sets(self, first: Shape, second: Shape) -> bool:
        """Whether two sets of real numbers, or solutions of inequalities, are equal."""

    def relations(self, first: Chain, second: Chain) -> bool:
        """Whether two equations or inequalities say the same."""


class NoAlgebra:
    """Decides nothing."""

    def same(self, first: str, second: str, by: Fraction) -> bool:
        raise Undecided

    def close(self, exact: str, rounded: str) -> bool:
        raise Undecided

    def sets(self, first: Shape, second: Shape) -> bool:
        raise Undecided

    def relations(self, first: Chain, second: Chain) -> bool:
        raise Undecided


@frozen
class Value:
    """What an equation gives a name to.

    Attributes:
        name: the left side of `x = 5`, or None.
        shapes: the value; both sides of an approximation.
    """

    name: str | None
    shapes: tuple[Shape, ...]


@frozen
class Comparison:
    """Compares a reference with an answer.

    Args:
        algebra: for what is no plain number and no word.
        upright: letters are words, for one of the two was set in `\\text{..}`.
    """

    algebra: Algebra
    upright: bool = False

    def equal(self, reference: Shape, answer: Shape) -> bool:
        """Whether the two are equal; false also for an answer that states an equation which does not hold."""
        if reference == answer:
            return True
        if _is_set(reference) or _is_set(answer):
            return self._sets(reference, answer)
        try:
            expected, given = self.value(reference), self.value(answer)
        except FalseStatement:
            return False
        if expected is None or given is None:
            return isinstance(reference, Chain) and isinstance(answer, Chain) and self._relations(reference, answer)
        if expected.name and given.name and _squeeze(expected.name) != _squeeze(given.name):
            return isinstance(reference, Chain) and isinstance(answer, Chain) and self._relations(reference, answer)
        return any(self._values(one, other) for one in expected.shapes for other in given.shapes)

    def value(self, shape: Shape) -> Value | None:
        """The value that an equation gives, all else as it is; None for an equation that gives none.

        Raises:
            FalseStatement: the equation does not hold.
        """
        if not isinstance(shape, Chain):
            return Value(None, (shape,))
        if not set(shape.relations) <= {"=", "~", r"\in"}:
            return None
        sides, relations = list(shape.sides), list(shape.relations)
        name = None
        first, last = sides[0], sides[-1]
        if first is None:
            sides, relations = sides[1:], relations[1:]
        elif names(first) is not None:
            name = names(first)
            while len(sides) > 1 and sides[0] is not None and names(sides[0]) is not None:
                sides, relations = sides[1:], relations[1:]
        elif last is not None and names(last) is not None and len(sides) == 2 and relations == ["="]:
            name, sides, relations = names(last), sides[:1], []
        rest = [side for side in sides if side is not None]
        approximations = [rest[-1]]
        for before, relation, after in zip(rest, relations, rest[1:], strict=False):
            if relation == "~":
                if not self._close(before, after):
                    raise FalseStatement
                approximations.append(before)
            elif not self._holds(before, after):
                return None
        return Value(name, tuple(approximations))

    def _holds(self, before: Shape, after: Shape) -> bool:
        """Whether an equation is an identity; one with variables that is none may still be an answer."""
        if self.equal(before, after):
            return True
        if not (_has_variables(before) or _has_variables(after)):
            raise FalseStatement
        return False

    def _close(self, exact: Shape, rounded: Shape) -> bool:
        if not (isinstance(exact, Expression) and isinstance(rounded, Expression)):
            return False
        number, decimal = read_number(exact.text), read_number(rounded.text)
        if number is None or decimal is None:
            return self.algebra.close(exact.text, rounded.text)
        assert number.value is not None
        return is_rounded(number.value, rounded.text)

    def _values(self, reference: Shape, answer: Shape) -> bool:
        match reference, answer:
            case Expression(expected), Expression(given):
                return self.same(expected, given)
            case Matrix(rows), Matrix(others):
                return [len(row) for row in rows] == [len(row) for row in others] and all(
                    self.equal(entry, other)
                    for row, other_row in zip(rows, others, strict=True)
                    for entry, other in zip(row, other_row, strict=True)
                )
            case (Matrix(), Expression(text)) | (Expression(text), Matrix()) if r"\begin" in text:
                return self.algebra.same(_text(reference), _text(answer), Fraction(1))
            case (Group(), Chain()) | (Chain(), Group()) | (Chain(), Chain()):
                return self.equal(reference, answer)
            case Group(), _:
                return self._groups(reference, answer)
            case _, Group():
                return self._groups(reference, answer)
        return False

    def _groups(self, reference: Shape, answer: Shape) -> bool:
        first, second = self._group(reference), self._group(answer)
        if len(first.items) == len(second.items) == 1 and {first.brackets, second.brackets} <= {"", "{}"}:
            return self.equal(first.items[0], second.items[0])
        kinds = _kind(first), _kind(second)
        if len(first.items) == 0 or len(second.items) == 0:
            return kinds == ("{}", "{}") and len(first.items) == len(second.items)
        if kinds == ("{}", "{}"):
            return self._covers(first.items, second.items) and self._covers(second.items, first.items)
        if set(kinds) <= {"", "{}"}:
            return self._match(self._items(first), self._items(second))
        if kinds[0] == kinds[1] or set(kinds) <= {"", "()"} and all(map(self._joins, (first, second))):
            expected, given = self._ordered(first), self._ordered(second)
            return len(expected) == len(given) and all(map(self.equal, expected, given))
        return False

    def _group(self, shape: Shape) -> Group:
        """A shape as a group, with lists in lists and equal values of plus and minus joined."""
        if not isinstance(shape, Group):
            return Group("", (shape,))
        items: list[Shape] = []
        for item in shape.items:
            nested = isinstance(item, Group) and item.joint == "pm" and shape.brackets in ("", "{}")
            for part in self._group(item).items if nested else (item,):
                if shape.joint != "pm" or not any(self.equal(part, other) for other in items):
                    items.append(part)
        return Group(shape.brackets, tuple(items), shape.joint)

    def _items(self, group: Group) -> list[Shape]:
        """The items without a name that they share, as in `x = 1 or x = 2` and `x = 1, 2`."""
        values = [self.value(item) for item in group.items]
        shared = {_squeeze(value.name) for value in values if value is not None and value.name}
        if len(shared) != 1 or any(value is None for value in values):
            return list(group.items)
        flat: list[Shape] = []
        for value in values:
            assert value is not None
            flat.extend(self._group(value.shapes[0]).items if _kind(value.shapes[0]) == "" else [value.shapes[0]])
        return flat

    def _ordered(self, group: Group) -> list[Shape]:
        """The items; in the order of their names where each has one, as in `y = 2, x = 1`."""
        values = [self.value(item) for item in group.items] if not group.brackets else []
        if not values or any(value is None or not value.name for value in values):
            return list(group.items)
        named = {_squeeze(value.name or ""): value.shapes[0] for value in values if value is not None}
        return [named[name] for name in sorted(named)] if len(named) == len(values) else list(group.items)

    def _joins(self, group: Group) -> bool:
        """Whether the items are in an order: `1, 2` may be a pair and `x = 1 and y = 2`, `1 or 2` may not."""
        return (
            bool(group.brackets)
            or group.joint in (",", ";")
            or (group.joint == "and" and self._ordered(group) != list(group.items))
        )

    def _match(self, first: Sequence[Shape], second: Sequence[Shape]) -> bool:
        """Whether the items are equal one to one, in any order."""
        if len(first) != len(second):
            return False
        left = list(second)
        for item in first:
            place = next((place for place, other in enumerate(left) if self.equal(item, other)), None)
            if place is None:
                return False
            del left[place]
        return True

    def _covers(self, first: Sequence[Shape], second: Sequence[Shape]) -> bool:
        return all(any(self.equal(item, other) for other in second) for item in first)

    def _sets(self, reference: Shape, answer: Shape) -> bool:
        """Sets of real numbers, one of which at least is a union or an inequality."""
        pair = [shape.sides[1] if _is_membership(shape) else shape for shape in (reference, answer)]  # type: ignore[union-attr]
        first, second = pair
        assert first is not None
        assert second is not None
        if first == second:
            return True
        if isinstance(first, Union) and isinstance(second, Union) and self._same_union(first, second):
            return True
        for shape in pair:
            plain = isinstance(shape, Group) and (_kind(shape) in ("()", "[]", "[)", "(]", "{}") or _is_set(shape))
            if not plain and not _is_set(shape):
                return False
        if isinstance(first, Chain) and isinstance(second, Chain):
            return self._relations(first, second)
        return self.algebra.sets(first, second)

    def _same_union(self, first: Union, second: Union) -> bool:
        """Whether the same sets are joined, in any order: also sets that only have names."""
        operators = {*first.operators, *second.operators}
        try:
            return operators in ({"|"}, {"&"}) and self._match(first.parts, second.parts)
        except Undecided:
            return False

    def _relations(self, reference: Chain, answer: Chain) -> bool:
        backwards = tuple(_FLIPPED.get(relation, relation) for relation in reversed(answer.relations))
        for sides, relations in ((answer.sides, answer.relations), (answer.sides[::-1], backwards)):
            if relations == reference.relations and all(
                one is other or (one is not None and other is not None and self._same_side(one, other))
                for one, other in zip(reference.sides, sides, strict=True)
            ):
                return True
        if not set(reference.relations) | set(answer.relations) <= {"=", *_INEQUALITIES}:
            return False
        return self.algebra.relations(reference, answer)

    def _same_side(self, one: Shape, other: Shape) -> bool:
        try:
            return self.equal(one, other)
        except Undecided:
            return False

    def same(self, reference: str, answer: str) -> bool:
        """Whether two expressions are equal."""
        if _squeeze(reference) == _squeeze(answer):
            return True
        modular = _MODULAR.fullmatch(reference), _MODULAR.fullmatch(answer)
        if modular[0] is not None and modular[1] is not None:
            return all(map(self.same, modular[0].groups(), modular[1].groups()))
        for read in (read_time, read_in_base):
            first, second = read(reference), read(answer)
            if first is not None and second is not None:
                return bool(first.equals(second))  # type: ignore[attr-defined]
        based = read_in_base(reference), read_in_base(answer)
        if based[0] is not None or based[1] is not None:
            return based[0].is_written(answer) if based[0] is not None else based[1].is_value_of(reference)  # type: ignore[union-attr]
        expected, given = read_number(reference), read_number(answer)
        if expected is None or given is None:
            words = letters(reference), letters(answer)
            if words[0] is not None and words[1] is not None:
                return same_letters(*words, upright=self.upright)
            if words[0] is not None and expected is None and (self.upright or is_word(words[0])):
                return False
            if words[1] is not None and given is None and expected is not None:
                return False  # a number is no variable
        ratios = read_ratio(reference), read_ratio(answer)
        if ratios[0] is not None or ratios[1] is not None:
            values = [
                (evaluate(text),) if ratio is None else ratio
                for text, ratio in zip((reference, answer), ratios, strict=True)
            ]
            return values[0] == values[1]
        expected, given = expected or read_expression(reference), given or read_expression(answer)
        return expected.equals(given, self.algebra.same)


def is_exact(text: str) -> bool:
    """Whether an expression can be compared without algebra."""
    return any(read(text) is not None for read in (read_number, letters, read_time, read_in_base, read_ratio))


def readable_parts(text: str) -> list[str]:
    """The expressions in a text that algebra has to read."""
    modular = _MODULAR.fullmatch(text)
    if modular is not None:
        return [part for group in modular.groups() for part in readable_parts(group)]
    return [] if is_exact(text) or _NUMBER_SETS.fullmatch(text) else [read_expression(text).body]


def is_rounded(value: Fraction, decimal: str) -> bool:
    """Whether a decimal number differs from a value by no more than rounding or cutting its last digit does."""
    number = read_number(decimal)
    if number is None or number.value is None:
        return False
    digits = re.search(r"\.(\d+)", decimal)
    unit = Fraction(1, 10 ** len(digits[1]) if digits else 1)
    return abs(value - number.value) <= unit * Fraction(3, 5 if not digits else 3)


def names(shape: Shape) -> str | None:
    """The text of a side that names a value: a variable, a sum of them, a function's value, words."""
    if isinstance(shape, Group) and shape.brackets == "()":
        parts = [names(item) for item in shape.items]
        return ",".join(part for part in parts if part) if all(parts) else None
    if not isinstance(shape, Expression):
        return None
    text = shape.text
    if _DENIALS.search(text) or not re.search("[A-Za-z]", text) or _NUMBER_SETS.search(text):
        return None
    if _CALL.fullmatch(text):
        return text
    bare = _SCRIPTS.sub("", text)
    return None if re.search(r"\d", bare) or _CONSTANTS.search(bare) else text


def _has_variables(shape: Shape) -> bool:
    if isinstance(shape, Expression):
        bare = re.sub(r"\\text\{[^{}]*\}|\\[A-Za-z]+", "", shape.text)
        return (
            read_number(shape.text) is None
            and re.search("[A-Za-z]", bare) is not None
            and bare.strip() not in ("e", "i")
        )
    return not isinstance(shape, Matrix)


def _is_set(shape: Shape) -> bool:
    """Unions, inequalities, lists of inequalities, sets of numbers; not a plain interval, which may be a pair."""
    match shape:
        case Union():
            return True
        case Chain(sides, relations):
            return set(relations) <= _INEQUALITIES or (
                _is_membership(shape) and sides[1] is not None and _is_set(sides[1])
            )
        case Group("", items):
            return bool(items) and all(
                isinstance(item, Chain) and set(item.relations) <= _INEQUALITIES for item in items
            )
        case Expression(text):
            return _NUMBER_SETS.fullmatch(text) is not None
    return False


def _is_membership(shape: Shape) -> bool:
    return (
        isinstance(shape, Chain)
        and shape.relations == (r"\in",)
        and shape.sides[0] is not None
        and names(shape.sides[0]) is not None
    )


def _kind(shape: Shape) -> str:
    """Brackets; those of vectors with three entries and more are alike."""
    if not isinstance(shape, Group):
        return ""
    if shape.brackets == "<>" or (len(shape.items) > 2 and shape.brackets == "[]"):
        return "()"
    return shape.brackets


def _text(shape: Shape) -> str:
    assert isinstance(shape, (Expression, Matrix))
    return shape.text


def _squeeze(text: str) -> str:
    """Without the spaces that say nothing: those between digits do."""
    return re.sub(r"(?<!\d) | (?!\d)", "", text)
