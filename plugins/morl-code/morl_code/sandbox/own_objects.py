"""Objects of classes that a test defines, which it hands to the program: their likenesses are in `mirrors`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import codec
from .mirrors import attributes_of

_MODULE = "tests"  # where classes of tests are defined


class OwnObjects:
    """The tests' objects that the program has seen, by the token that each bears on both sides."""

    def __init__(self) -> None:
        self._objects: list[object] = []
        self._tokens: dict[int, int] = {}
        self._known: dict[int, dict[str, codec.Encoded]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def encoded(self, value: object) -> codec.Encoded | None:
        """The token of an object of a class of the tests'; None for any other."""
        kind = type(value)
        if kind.__module__ != _MODULE or isinstance(value, type) or codec.plain_base(value) is not None:
            return None
        token = self._tokens.setdefault(id(value), len(self._objects))
        if token == len(self._objects):
            self._objects.append(value)
        return {"n": token}

    def find(self, token: int) -> object:
        """The object of a token that was given away.

        Raises:
            LookupError: there is none.
        """
        if type(token) is not int or not 0 <= token < len(self._objects):
            raise LookupError(token)
        return self._objects[token]

    def changes(self, encode: Callable[[object], codec.Encoded]) -> list[Any]:
        """What the program does not know yet: a list of token, name of the class, and attributes."""
        changed = []
        for token, value in enumerate(self._objects):  # which grows, by what the attributes lead to
            attributes = {name: encode(each) for name, each in attributes_of(value).items()}
            if attributes != self._known.get(token):
                self._known[token] = attributes
                changed.append([token, type(value).__name__, attributes])
        return changed

    def update(self, objects: Any, decode: Callable[[codec.Encoded], Any]) -> None:
        """Takes over what the program changed: data, and no methods."""
        for token, attributes in objects:
            value = self.find(token)
            for name, each in attributes.items():
                if not name.startswith("__") and not callable(getattr(type(value), name, None)):
                    object.__setattr__(value, name, decode(each))
            self._known[token] = attributes
