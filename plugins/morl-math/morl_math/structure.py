"""The outline of an answer: lists, tuples, intervals, sets, relations, matrices, and the expressions in them.

Reading it from the text keeps what a parser of expressions loses: kinds of brackets, order, and how often an element
was written.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from attrs import frozen

from morl_math.words import number_in_words

_DEPTH = 12
_TOKEN = re.compile(
    r"\\\\|\\begin\{[a-z]+\*?\}(?:\{[lcr| ]*\})?|\\end\{[a-z]+\*?\}|\\[{}|]|\\[A-Za-z]+|\\."
    r"|<=|>=|!=|==|[A-Za-z]+|."
)
_OPEN = {"(", "[", "{", r"\{", r"\langle", r"\lfloor", r"\lceil"}
_CLOSE = {")", "]", "}", r"\}", r"\rangle", r"\rfloor", r"\rceil"}
_RELATIONS = {
    "=": "=", "==": "=", "<": "<", ">": ">", r"\le": "<=", r"\ge": ">=", "<=": "<=", ">=": ">=", r"\ne": "!=",
    "!=": "!=", r"\approx": "~", r"\equiv": r"\equiv",
    r"\sim": r"\sim", r"\to": r"\to", r"\implies": r"\to", r"\in": r"\in",
    r"\notin": r"\notin", r"\mid": r"\mid", r"\parallel": r"\parallel", r"\perp": r"\perp", r"\subset": r"\subset",
    r"\propto": r"\propto",
}  # fmt: skip
_SETS = {r"\cup": "|", r"\cap": "&", r"\setminus": "-"}
_JOINING = re.compile(r"\\text\{ *,? *(and|or) *\}|(?<![A-Za-z\\])(and|or)(?![A-Za-z])")
_THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?!\d|,\S)")


@frozen
class Expression:
    """A text with no outline of its own: a number, an expression, words."""

    text: str


@frozen
class Group:
    """Items in brackets: a tuple, an interval, a set; or without any brackets, a list.

    Attributes:
        brackets: opening and closing, such as `()`, `[)`, `{}`, `<>`; empty for a list.
        items: in the order in which they were written.
        joint: what joins the items of a list: `,`, `;`, `and`, `or`, `pm`.
    """

    brackets: str
    items: tuple[Shape, ...]
    joint: str = ","


@frozen
class Union:
    """Sets and intervals joined by `operators`, one of `|`, `&`, `-` between two parts."""

    parts: tuple[Shape, ...]
    operators: tuple[str, ...]


@frozen
class Chain:
    """Sides of equations and inequalities, and the relations between them; the first side may be missing (None)."""

    sides: tuple[Shape | None, ...]
    relations: tuple[str, ...]


@frozen
class Matrix:
    """Rows of entries, and the text they were read from."""

    rows: tuple[tuple[Shape, ...], ...]
    text: str


Shape: TypeAlias = Expression | Group | Union | Chain | Matrix


class Malformed(ValueError):
    """Brackets that do not match, or a side that is empty."""


def read_shape(text: str, depth: int = 0) -> Shape:
    """The outline of a cleaned answer.

    Raises:
        Malformed: there is none.

    >>> read_shape("[1, x)")
    Group(brackets='[)', items=(Expression(text='1'), Expression(text='x')), joint=',')
    """
    text = text.strip()
    if depth > _DEPTH or not text:
        raise Malformed(text)
    tokens = _tokens(text)
    for reader in (_list, _relation, _set_operation, _plus_minus, _matrix, _brackets):
        if (shape := reader(text, tokens, depth)) is not None:
            return shape
    return Expression(text)


def expressions(shape: Shape) -> list[str]:
    """Texts of all expressions of a shape."""
    match shape:
        case Expression(text):
            return [text]
        case Group(_, items) | Union(items):
            return [text for item in items for text in expressions(item)]
        case Chain(sides):
            return [text for side in sides if side is not None for text in expressions(side)]
        case Matrix(rows):
            return [text for row in rows for item in row for text in expressions(item)]


def _tokens(text: str) -> list[tuple[str, int, int]]:
    """Each token with its position and its depth in brackets."""
    found, depth, bars = [], 0, 0
    for token in _TOKEN.finditer(text):
        name = token[0]
        if name in _CLOSE or name.startswith(r"\end"):
            depth -= 1
            if depth < 0:
                raise Malformed(text)
        if name == "|":
            bars = 1 - bars
        found.append((name, token.start(), depth + bars * (name != "|")))
        if name in _OPEN or name.startswith(r"\begin"):
            depth += 1
    if depth:
        raise Malformed(text)
    return found


def _split(text: str, tokens: list[tuple[str, int, int]], at: set[str]) -> tuple[list[str], list[str]]:
    """The parts of a text between those tokens outside all brackets, and these tokens."""
    found = [(name, position) for name, position, depth in tokens if depth == 0 and name in at]
    return _cut(text, found), [name for name, _ in found]


def _list(text: str, tokens: list[tuple[str, int, int]], depth: int) -> Shape | None:
    if number_in_words(text) is not None:  # two hundred and five
        return None
    words = [found for found in _JOINING.finditer(text) if _level(tokens, found.start()) == 0]
    parts, start = [], 0
    for word in words:
        parts.append(text[start : word.start()].strip().rstrip(",;").strip())
        start = word.end()
    parts.append(text[start:].strip())
    items = [item for part in parts for item in _items(part)]
    if len(items) == 1:
        return None
    joint = (words[-1][1] or words[-1][2]) if words else ";" if ";" in text else ","
    return Group("", tuple(read_shape(item, depth + 1) for item in items), joint)


def _items(text: str, *, bracketed: bool = False) -> list[str]:
    """The items between commas or semicolons.

    Commas between groups of three digits belong to a number, but not in brackets without a space after any comma or a
    semicolon: `(2,345)` is a pair.
    """
    tokens = _tokens(text)
    separators = [(name, position) for name, position, level in tokens if level == 0 and name in (",", ";")]
    if not bracketed or any(name == ";" or text[position + 1 : position + 2] == " " for name, position in separators):
        inside = {place for found in _THOUSANDS.finditer(text) for place in range(*found.span())}
        separators = [(name, position) for name, position in separators if name == ";" or position not in inside]
    if any(name == ";" for name, _ in separators) and not bracketed:
        separators = [(name, position) for name, position in separators if name == ";"]
        return [item for part in _cut(text, separators) for item in _items(part)]
    return _cut(text, separators)


def _cut(text: str, separators: list[tuple[str, int]]) -> list[str]:
    """The parts of a text between separators at these positions."""
    parts, start = [], 0
    for name, position in separators:
        parts.append(text[start:position].strip())
        start = position + len(name)
    return [*parts, text[start:].strip()]


def _level(tokens: list[tuple[str, int, int]], position: int) -> int:
    return next((depth for _, start, depth in reversed(tokens) if start <= position), 0)


def _relation(text: str, tokens: list[tuple[str, int, int]], depth: int) -> Shape | None:
    sides, names = _split(text, tokens, set(_RELATIONS))
    if not names:
        return None
    relations = tuple(_RELATIONS[name] for name in names)
    if any(not side for side in sides[1:]):
        raise Malformed(text)
    return Chain(tuple(read_shape(side, depth + 1) if side else None for side in sides), relations)


def _set_operation(text: str, tokens: list[tuple[str, int, int]], depth: int) -> Shape | None:
    parts, names = _split(text, tokens, set(_SETS))
    if not names:
        return None
    return Union(tuple(read_shape(part, depth + 1) for part in parts), tuple(_SETS[name] for name in names))


def _plus_minus(text: str, tokens: list[tuple[str, int, int]], depth: int) -> Shape | None:
    signs = [(name, position) for name, position, _ in tokens if name in (r"\pm", r"\mp")]
    if not signs or len(signs) > 2:
        return None
    upper, lower = text, text
    for name, sign, other in ((r"\pm", "+", "-"), (r"\mp", "-", "+")):
        upper = re.sub(rf"{re.escape(name)}(?![A-Za-z])", sign, upper)
        lower = re.sub(rf"{re.escape(name)}(?![A-Za-z])", other, lower)
    values = [value.removeprefix("+").strip() for value in (upper, lower)]
    return Group("", tuple(read_shape(value, depth + 1) for value in values), "pm")


def _matrix(text: str, tokens: list[tuple[str, int, int]], depth: int) -> Shape | None:
    inside = re.fullmatch(
        r"[(\[]?\s*\\begin\{([pb]?matrix|smallmatrix|array)\}(?:\{[^{}]*\})?(.*)\\end\{\1\}\s*[)\]]?", text
    )
    if inside is None:
        return None
    content = inside[2].strip().removesuffix("\\\\").replace(r"\hline", "")
    rows, _ = _split(content, _tokens(content), {"\\\\"})
    entries = [_split(row, _tokens(row), {"&"})[0] for row in rows]
    return Matrix(tuple(tuple(read_shape(entry, depth + 1) for entry in row) for row in entries), text)


def _brackets(text: str, tokens: list[tuple[str, int, int]], depth: int) -> Shape | None:
    if text in (r"\emptyset", r"\{ \}", r"\{\}"):
        return Group("{}", ())
    opening, closing = tokens[0][0], tokens[-1][0]
    whole = opening in _OPEN and closing in _CLOSE and all(level > 0 for _, _, level in tokens[1:-1])
    if not whole or (opening == "{") != (closing == "}") or opening in (r"\lfloor", r"\lceil"):
        return None
    inside = text[len(opening) : -len(closing)].strip()
    if opening == "{":
        return read_shape(inside, depth + 1)
    names = {r"\{": "{", r"\}": "}", r"\langle": "<", r"\rangle": ">"}
    brackets = names.get(opening, opening) + names.get(closing, closing)
    items = _items(inside, bracketed=True)
    if len(items) == 1 and brackets == "()":
        shape = read_shape(inside, depth + 1)
        return shape if not isinstance(shape, Expression) else None
    if brackets == "{}" and len(items) == 1 and (builder := _set_builder(inside, depth)) is not None:
        return builder
    return Group(brackets, tuple(read_shape(item, depth + 1) for item in items))


def _set_builder(inside: str, depth: int) -> Shape | None:
    """The condition of `{x | x > 3}`."""
    found = re.fullmatch(r"([A-Za-z])(?: *\\in *\\mathbb\{R\})? *(?:\||\\mid|:)(.*)", inside)
    return read_shape(found[2], depth + 1) if found else None
