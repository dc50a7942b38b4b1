"""Likenesses, in the program's process, of objects that a test made: nodes of lists and trees, above all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import codec


class Mirrors:
    """Objects of the tests' classes, by the token that each bears on both sides.

    A likeness is of the program's class of the same name, if it has one, since a program asks `isinstance(x, ListNode)`
    of its own; otherwise of an empty class.  Attributes travel with each request and with each answer, so that both
    sides see what the other changed.

    Args:
        namespace: of the program's module.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._classes: dict[str, type] = {}
        self._objects: dict[int, object] = {}
        self._tokens: dict[int, int] = {}
        self._known: dict[int, dict[str, codec.Encoded]] = {}

    def token(self, value: object) -> int | None:
        """Of a likeness; None for any other object."""
        return self._tokens.get(id(value))

    def find(self, token: int) -> object:
        return self._objects[token]

    def update(self, objects: list[Any], decode: Callable[[codec.Encoded], Any]) -> None:
        """Takes over what the tests changed: a list of token, name of the class, and attributes."""
        for token, name, _ in objects:
            if token not in self._objects:
                self._objects[token] = likeness = self._make(name)
                self._tokens[id(likeness)] = token
        for token, _, attributes in objects:
            self._known[token] = attributes
            for name, value in attributes.items():
                object.__setattr__(self._objects[token], name, decode(value))

    def changes(self, encode: Callable[[object], codec.Encoded]) -> list[Any]:
        """What the program changed since: a list of token and attributes."""
        changed = []
        for token, value in self._objects.items():
            attributes = {name: encode(each) for name, each in attributes_of(value).items()}
            if attributes != self._known[token]:
                self._known[token] = attributes
                changed.append([token, attributes])
        return changed

    def _make(self, name: str) -> object:
        kind = self._namespace.get(name)
        if isinstance(kind, type):
            try:
                return object.__new__(kind)
            except TypeError:  # derived from a plain type, or abstract
                pass
        return object.__new__(self._classes.setdefault(name, type(name, (), {})))


def attributes_of(value: object) -> dict[str, Any]:
    """The attributes of an instance, in slots or not.

    >>> class Pair: __slots__ = ("left", "right")
    >>> pair = Pair(); pair.left = 1; attributes_of(pair)
    {'left': 1}
    """
    declared = [vars(kind).get("__slots__", ()) for kind in type(value).__mro__]
    slots = [name for names in declared for name in ([names] if isinstance(names, str) else names)]
    found = {name: getattr(value, name) for name in slots if hasattr(value, name)} | getattr(value, "__dict__", {})
    return {name: each for name, each in found.items() if not name.startswith("__")}
