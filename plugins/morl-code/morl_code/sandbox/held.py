"""What the program's process knows of both sides' objects."""

from __future__ import annotations

from collections import UserDict, UserList, UserString
from typing import Any

from . import codec
from .mirrors import Mirrors

# Of a class's own methods, those that Python calls by itself and the test runner has carried out here.
_OPERATORS = """
add sub mul truediv floordiv mod pow matmul and or xor lshift rshift
radd rsub rmul rtruediv rfloordiv rmod rpow rmatmul rand ror rxor rlshift rrshift
iadd isub imul itruediv ifloordiv imod ipow imatmul iand ior ixor ilshift irshift
eq ne lt le gt ge neg pos abs invert str repr len bool iter getitem hash
"""
_CALLED_BY_PYTHON = {f"__{name}__" for name in _OPERATORS.split()}
_WRAPPERS: dict[type, str] = {UserList: "list", UserDict: "dict", UserString: "str"}
_IMMUTABLE = (str, float, int, tuple, bytes, frozenset)


class Held:
    """Objects that stay here, by the number that stands for them, and the likenesses of the tests' objects.

    Args:
        namespace: of the program's module.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._objects: list[object] = []
        self._numbers: dict[int, int] = {}
        self._overrides: dict[type, list[str]] = {}
        self.mirrors = Mirrors(namespace)

    def keep(self, value: object) -> int:
        number = self._numbers.setdefault(id(value), len(self._objects))
        if number == len(self._objects):
            self._objects.append(value)
        return number

    def find(self, number: int) -> Any:
        return self._objects[number]

    def encode(self, value: object) -> codec.Encoded:
        return codec.encode(value, self.keep, self._special)

    def contents(self, value: object) -> codec.Encoded:
        value = value.data if isinstance(value, UserList | UserDict | UserString) else value
        return codec.contents(value, self.keep, self._special)

    def decode(self, encoded: codec.Encoded) -> Any:
        return codec.decode(encoded, self.find, self._decode_special)

    def _special(self, value: object) -> codec.Encoded | None:
        """A likeness goes back as what it stands for; an instance of a subclass of a plain type keeps its methods."""
        token = self.mirrors.token(value)
        if token is not None:
            return {"n": token}
        for wrapper, name in _WRAPPERS.items():
            if isinstance(value, wrapper):
                return {"m": [self.keep(value), name, self._own(type(value), wrapper)]}
        base = codec.plain_base(value)
        if base is None:
            return None
        if base in _IMMUTABLE:
            return {"k": [self.keep(value), self.contents(value), self._own(type(value), base)]}
        return {"m": [self.keep(value), base.__name__, self._own(type(value), base)]} if base in codec.MUTABLE else None

    def _decode_special(self, tag: str, parts: Any, _: object) -> object:
        if tag != "n":
            raise LookupError(tag)
        return self.mirrors.find(parts)

    def _own(self, kind: type, base: type) -> list[str]:
        """The methods of the plain type that a class has in its own way."""
        if kind not in self._overrides:
            before = kind.__mro__[: kind.__mro__.index(base)] if base in kind.__mro__ else ()
            names = {name for each in before for name in vars(each) if hasattr(base, name)}
            self._overrides[kind] = sorted(
                name for name in names if name in _CALLED_BY_PYTHON or not name.startswith("__")
            )
        return self._overrides[kind]
