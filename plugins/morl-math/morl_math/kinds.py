"""What kind of thing a shape is: the name of a value, a set of numbers, a tuple."""

from __future__ import annotations

import re

from morl_math.quantity import read_number
from morl_math.structure import Chain, Expression, Group, Matrix, Shape, Union
from morl_math.texts import NUMBER_SETS

INEQUALITIES = {"<", ">", "<=", ">=", "!="}
_CALL = re.compile(r"\\?[A-Za-z]+(?:_\{[^{}]*\})?'*(?:\^\{-?1\})? ?\(.*\)")
_SCRIPTS = re.compile(r"_\{[^{}]*\}|\\mathbb\{[A-Z]\}")
_DENIALS = re.compile(r"\b(?:not|no|never|wrong|false|except|but|isn't|incorrect)\b", re.IGNORECASE)
_CONSTANTS = re.compile(r"\\(?:pi|infty|emptyset)(?![A-Za-z])")


def names(shape: Shape) -> str | None:
    """The text of a side that names a value: a variable, a sum of them, a function's value, words."""
    if isinstance(shape, Group) and shape.brackets == "()":
        parts = [names(item) for item in shape.items]
        return ",".join(part for part in parts if part) if all(parts) else None
    if not isinstance(shape, Expression):
        return None
    text = shape.text
    if _DENIALS.search(text) or not re.search("[A-Za-z]", text) or NUMBER_SETS.search(text):
        return None
    if _CALL.fullmatch(text):
        return text
    bare = _SCRIPTS.sub("", text)
    return None if re.search(r"\d", bare) or _CONSTANTS.search(bare) else text


def has_variables(shape: Shape) -> bool:
    if isinstance(shape, Expression):
        bare = re.sub(r"\\text\{[^{}]*\}|\\[A-Za-z]+", "", shape.text)
        return (
            read_number(shape.text) is None
            and re.search("[A-Za-z]", bare) is not None
            and bare.strip() not in ("e", "i")
        )
    return not isinstance(shape, Matrix)


def is_set(shape: Shape) -> bool:
    """Unions, inequalities, lists of inequalities, sets of numbers; not a plain interval, which may be a pair."""
    match shape:
        case Union():
            return True
        case Chain(_, relations):
            inside = is_membership(shape)
            return set(relations) <= INEQUALITIES or (inside is not None and is_set(inside))
        case Group("", items):
            return bool(items) and all(
                isinstance(item, Chain) and set(item.relations) <= INEQUALITIES for item in items
            )
        case Expression(text):
            return NUMBER_SETS.fullmatch(text) is not None
    return False


def is_membership(shape: Shape) -> Shape | None:
    """The set of `x \\in S`; None for all else."""
    if not isinstance(shape, Chain) or shape.relations != (r"\in",):
        return None
    return shape.sides[1] if shape.sides[0] is not None and names(shape.sides[0]) is not None else None


def kind_of(shape: Shape) -> str:
    """Brackets; those of vectors with three entries and more are alike."""
    if not isinstance(shape, Group):
        return ""
    if shape.brackets == "<>" or (len(shape.items) > 2 and shape.brackets == "[]"):
        return "()"
    return shape.brackets
