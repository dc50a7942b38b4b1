"""Values as text, for the way between two processes that do not trust each other.

Only plain values travel: those of Python's own types, rebuilt on the other side from their contents.  An instance of a
subclass travels as what it holds, so a class of the program's making never arrives, with its `==` or anything else.
Whatever is not plain stays where it is, and a number that stands for it travels (`keep`, `find`).  Either side may have
ways of its own for values that are not exactly of a plain type (`special`).

>>> encode({"a": (1, {2.5})}, keep=id)
{'d': [['a', {'t': [1, {'s': [2.5]}]}]]}
>>> decode({'d': [['a', {'t': [1, {'s': [2.5]}]}]]}, find={}.get)
{'a': (1, {2.5})}
"""

from __future__ import annotations

import builtins
import json
import os
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeAlias

_Inner: TypeAlias = Callable[[Any], Any]
Encoded: TypeAlias = Any
"""What JSON can hold: an atom, a list for a list, and a dict of one entry, type -> contents, for everything else."""

MESSAGE_LIMIT = 16 * 2**20
_HEADER = 8
_LARGE = 2**64  # whole numbers from here on travel in base 16, which has neither quadratic cost nor a limit


def encode(
    value: object, keep: Callable[[object], int], special: Callable[[object], Encoded | None] | None = None
) -> Encoded:
    """The encoded form of a value.

    Args:
        value: any object.
        keep: gives a number to an object without a plain form.
        special: the encoded form of an object that is not exactly of a plain type, or None to leave it to this
            function.

    Raises:
        RecursionError: a value that contains itself, or is nested too deeply.
    """
    kind = type(value)
    if value is None or kind is bool or kind is str or kind is float:
        return value
    if kind is list:
        return [encode(item, keep, special) for item in value]  # type: ignore[attr-defined]
    if kind not in _ENCODERS and kind is not int and special is not None and (found := special(value)) is not None:
        return found
    return _contents(value, lambda item: encode(item, keep, special), keep)


def contents(
    value: object, keep: Callable[[object], int], special: Callable[[object], Encoded | None] | None = None
) -> Encoded:
    """The encoded form of what an instance of a subclass of a plain type holds."""
    return _contents(value, lambda item: encode(item, keep, special), keep)


def plain_base(value: object) -> type | None:
    """The plain type that a value is an instance of, be it of a subclass; None if there is none.

    >>> plain_base(True), plain_base(Counter()), plain_base(object())
    (<class 'int'>, <class 'collections.Counter'>, None)
    """
    return next((known for known in (str, float, int, list, *_ENCODERS) if isinstance(value, known)), None)


def _contents(value: object, inner: _Inner, keep: Callable[[object], int]) -> Encoded:
    if isinstance(value, str | float):
        # Not str(value) and float(value), which ask the class.
        return str.__str__(value) if isinstance(value, str) else float.__float__(value)
    if isinstance(value, int):
        number = int.__int__(value)
        return number if -_LARGE < number < _LARGE else {"i": hex(number)}
    if isinstance(value, list):
        return [inner(item) for item in list.__iter__(value)]
    for known, (tag, parts) in _ENCODERS.items():
        if isinstance(value, known):
            return {tag: parts(value, inner)}
    for name, builtin in _TYPES.items():
        if value is builtin:
            return {"y": name}
    return {"h": keep(value)}


def decode(
    encoded: Encoded, find: Callable[[int], object], special: Callable[[str, Any, _Inner], object] | None = None
) -> Any:
    """The value of an encoded form.

    Args:
        encoded: what `encode` gave on the other side.
        find: gives the object for a number.
        special: gives the value of a form that this module does not know, from its tag and its parts.

    Raises:
        ValueError: no encoded form.  Whoever sends it may send anything.
    """
    if isinstance(encoded, list):
        return [decode(item, find, special) for item in encoded]
    if not isinstance(encoded, dict):
        return encoded
    try:
        [(tag, parts)] = encoded.items()
        if tag == "h":
            return find(int(parts))
        inner: _Inner = lambda item: decode(item, find, special)  # noqa: E731
        if tag not in _DECODERS and special is not None:
            return special(tag, parts, inner)
        return _DECODERS[tag](parts, inner)
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise ValueError(f"no encoded value: {type(error).__name__}: {error}") from None


def send(fd: int, message: Encoded) -> None:
    """Writes a message.

    Raises:
        ValueError: it is too long.
        OSError: nobody reads.
    """
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > MESSAGE_LIMIT:
        raise ValueError(f"a value of {len(data)} bytes; the limit is {MESSAGE_LIMIT}")
    rest = memoryview(len(data).to_bytes(_HEADER, "big") + data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def receive(fd: int) -> Encoded:
    """Reads a message.

    Raises:
        EOFError: the other side is gone.
        ValueError: no message.
    """
    size = int.from_bytes(_read(fd, _HEADER), "big")
    if size > MESSAGE_LIMIT:
        raise ValueError(f"a message of {size} bytes; the limit is {MESSAGE_LIMIT}")
    return json.loads(_read(fd, size))


def _read(fd: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = os.read(fd, min(size - len(data), 2**20))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


def _pairs(items: Any, inner: _Inner) -> list[list[Encoded]]:
    return [[inner(key), inner(value)] for key, value in items]


_TYPES = {name: value for name, value in vars(builtins).items() if isinstance(value, type) and name[0] != "_"}

# Methods of the base class read what an instance of a subclass really holds.  Subclasses stand before their bases.
_ENCODERS: dict[type, tuple[str, Callable[[Any, _Inner], Encoded]]] = {
    tuple: ("t", lambda value, inner: [inner(item) for item in tuple.__iter__(value)]),
    Counter: ("C", lambda value, inner: _pairs(dict.items(value), inner)),
    OrderedDict: ("O", lambda value, inner: _pairs(OrderedDict.items(value), inner)),
    defaultdict: ("d", lambda value, inner: _pairs(dict.items(value), inner)),
    dict: ("d", lambda value, inner: _pairs(dict.items(value), inner)),
    set: ("s", lambda value, inner: [inner(item) for item in set.__iter__(value)]),
    frozenset: ("f", lambda value, inner: [inner(item) for item in frozenset.__iter__(value)]),
    bytes: ("b", lambda value, _: bytes.hex(value)),
    bytearray: ("B", lambda value, _: bytearray.hex(value)),
    complex: ("c", lambda value, _: [value.real, value.imag]),
    range: ("r", lambda value, _: [value.start, value.stop, value.step]),
    slice: ("sl", lambda value, inner: [inner(value.start), inner(value.stop), inner(value.step)]),
    deque: ("q", lambda value, inner: [[inner(item) for item in deque.__iter__(value)], value.maxlen]),
    array: ("a", lambda value, inner: [value.typecode, [inner(item) for item in value]]),
    Decimal: ("D", lambda value, _: str(value)),
    Fraction: ("F", lambda value, _: str(value)),
    datetime: ("dt", lambda value, _: datetime.isoformat(value)),
    date: ("dd", lambda value, _: date.isoformat(value)),
    time: ("tt", lambda value, _: time.isoformat(value)),
    timedelta: ("td", lambda value, _: [value.days, value.seconds, value.microseconds]),
}

MUTABLE = (list, Counter, OrderedDict, defaultdict, dict, set, bytearray, deque)


def _items(parts: Any, inner: _Inner) -> list[Any]:
    return [inner(item) for item in parts]


def _mapping(parts: Any, inner: _Inner) -> list[tuple[Any, Any]]:
    return [(inner(key), inner(value)) for key, value in parts]


_DECODERS: dict[str, Callable[[Any, _Inner], Any]] = {
    "i": lambda parts, _: int(parts, 16),
    "t": lambda parts, inner: tuple(_items(parts, inner)),
    "C": lambda parts, inner: Counter(dict(_mapping(parts, inner))),
    "O": lambda parts, inner: OrderedDict(_mapping(parts, inner)),
    "d": lambda parts, inner: dict(_mapping(parts, inner)),
    "s": lambda parts, inner: set(_items(parts, inner)),
    "f": lambda parts, inner: frozenset(_items(parts, inner)),
    "b": lambda parts, _: bytes.fromhex(parts),
    "B": lambda parts, _: bytearray.fromhex(parts),
    "c": lambda parts, _: complex(*parts),
    "r": lambda parts, _: range(*parts),
    "sl": lambda parts, inner: slice(*_items(parts, inner)),
    "q": lambda parts, inner: deque(_items(parts[0], inner), parts[1]),
    "a": lambda parts, inner: array(parts[0], _items(parts[1], inner)),
    "D": lambda parts, _: Decimal(parts),
    "F": lambda parts, _: Fraction(parts),
    "dt": lambda parts, _: datetime.fromisoformat(parts),
    "dd": lambda parts, _: date.fromisoformat(parts),
    "tt": lambda parts, _: time.fromisoformat(parts),
    "td": lambda parts, _: timedelta(*parts),
    "y": lambda parts, _: _TYPES[parts],
}
