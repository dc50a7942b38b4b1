"""Whether two answers are equal, by their outlines; what takes algebra is asked of an `Algebra`."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from attrs import frozen

from morl_math.kinds import INEQUALITIES, has_variables, is_membership, is_set, kind_of, names
from morl_math.protocol import Algebra, Undecided
from morl_math.quantity import read_number
from morl_math.structure import Chain, Expression, Group, Matrix, Shape, Union
from morl_math.texts import is_rounded, same_text, squeeze

_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!=", "=": "="}


class FalseStatement(ValueError):
    """An equation between numbers that does not hold."""


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
        if is_set(reference) or is_set(answer):
            return self._sets(reference, answer)
        try:
            expected, given = self.value(reference), self.value(answer)
        except FalseStatement:
            return False
        if expected is None or given is None:
            return isinstance(reference, Chain) and isinstance(answer, Chain) and self._relations(reference, answer)
        if expected.name and given.name and squeeze(expected.name) != squeeze(given.name):
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
        if not (has_variables(before) or has_variables(after)):
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
                return same_text(expected, given, self.algebra, upright=self.upright)
            case Matrix(rows), Matrix(others):
                return [len(row) for row in rows] == [len(row) for row in others] and all(
                    self.equal(entry, other)
                    for row, other_row in zip(rows, others, strict=True)
                    for entry, other in zip(row, other_row, strict=True)
                )
            case (Matrix() as matrix, Expression(text)) | (Expression(text), Matrix() as matrix) if r"\begin" in text:
                return self.algebra.same(text, matrix.text, Fraction(1))
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
        kinds = kind_of(first), kind_of(second)
        if len(first.items) == 0 or len(second.items) == 0:
            return kinds == ("{}", "{}") and len(first.items) == len(second.items)
        if kinds == ("{}", "{}"):
            return self._covers(first.items, second.items) and self._covers(second.items, first.items)
        if set(kinds) <= {"", "{}"}:
            return self._match(self._items(first), self._items(second))
        if kinds[0] == kinds[1] or (set(kinds) <= {"", "()"} and self._joins(first) and self._joins(second)):
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
        shared = {squeeze(value.name) for value in values if value is not None and value.name}
        if len(shared) != 1 or any(value is None for value in values):
            return list(group.items)
        flat: list[Shape] = []
        for value in values:
            assert value is not None
            flat.extend(self._group(value.shapes[0]).items if kind_of(value.shapes[0]) == "" else [value.shapes[0]])
        return flat

    def _ordered(self, group: Group) -> list[Shape]:
        """The items; in the order of their names where each has one, as in `y = 2, x = 1`."""
        values = [self.value(item) for item in group.items] if not group.brackets else []
        if not values or any(value is None or not value.name for value in values):
            return list(group.items)
        named = {squeeze(value.name or ""): value.shapes[0] for value in values if value is not None}
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
        first, second = is_membership(reference) or reference, is_membership(answer) or answer
        if first == second:
            return True
        if isinstance(first, Union) and isinstance(second, Union) and self._same_union(first, second):
            return True
        for shape in (first, second):
            plain = isinstance(shape, Group) and (kind_of(shape) in ("()", "[]", "[)", "(]", "{}") or is_set(shape))
            if not plain and not is_set(shape):
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
        if not set(reference.relations) | set(answer.relations) <= {"=", *INEQUALITIES}:
            return False
        return self.algebra.relations(reference, answer)

    def _same_side(self, one: Shape, other: Shape) -> bool:
        try:
            return self.equal(one, other)
        except Undecided:
            return False
