"""Stand-ins for instances of subclasses of plain types: `class Stack(list)`, named tuples, members of `IntEnum`.

They have the program's methods, and compare, count and contain by the plain value that they hold, in this process: what
the program's class makes of `==` plays no part where the other value is one of the test's.
"""

from __future__ import annotations

import operator
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .operations import BINARY, COMPARISONS, UNARY
from .stand_ins import PREDICATES, Kept, StandIn, ask, number_of, operate

if TYPE_CHECKING:
    from .runner import Program

_BASES: dict[str, type] = {
    kind.__name__: kind for kind in (list, dict, set, bytearray, deque, OrderedDict, Counter, defaultdict, str)
}
# Methods that change the object, and so have to be carried out where it is.
_CHANGING = """
append appendleft extend extendleft insert pop popitem popleft remove discard add clear update setdefault sort reverse
rotate move_to_end subtract difference_update intersection_update symmetric_difference_update
""".split()  # noqa: SIM905 - a list of words


def immutable(program: Program, number: int, value: Any, overrides: frozenset[str]) -> object:
    """A plain value that cannot change, with the program's methods beside its own.

    Raises:
        LookupError: of no such type.
    """
    kept = _KEPT[type(value)](value)
    vars(kept).update(_program=program, _number=number, _overrides=overrides)
    return kept


def mutable(program: Program, number: int, base: str, overrides: frozenset[str]) -> StandIn:
    """A stand-in for an object that has the contents of a `base`.

    Raises:
        LookupError: of no such type.
    """
    return Container(program, number, _BASES[base], overrides)


class Container(StandIn):
    """An object that holds what a list, a dictionary, .. holds, and whose contents may change with each call."""

    __slots__ = ("_base", "_overrides")

    def __init__(self, program: Program, number: int, base: type, overrides: frozenset[str]) -> None:
        super().__init__(program, number)
        object.__setattr__(self, "_base", base)
        object.__setattr__(self, "_overrides", overrides)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """For `isinstance(x, list)`."""
        return object.__getattribute__(self, "_base")  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        own = object.__getattribute__(self, "_overrides")
        if name in PREDICATES or (
            name not in own and name not in _CHANGING and hasattr(object.__getattribute__(self, "_base"), name)
        ):
            return getattr(contents(self), name)
        return super().__getattr__(name)

    def __iter__(self) -> Iterator[Any]:
        own = object.__getattribute__(self, "_overrides")
        return super().__iter__() if "__iter__" in own else iter(contents(self))

    def __reversed__(self) -> Iterator[Any]:
        return iter(reversed(contents(self)))

    def __contains__(self, value: object) -> bool:
        return value in contents(self)

    def __copy__(self) -> Any:
        return contents(self)

    def __deepcopy__(self, memo: Any) -> Any:
        return contents(self)

    __hash__ = None  # type: ignore[assignment]


def contents(container: Container) -> Any:
    """The plain value that it holds now.

    Raises:
        TypeError: the program says that it is of another type by now.
    """
    value = ask(container, "contents")
    base = object.__getattribute__(container, "_base")
    if not isinstance(value, dict if issubclass(base, dict) else base):
        raise TypeError(f"an object that held a {base.__name__} holds a {type(value).__name__}")
    return value


def _plain(value: object) -> object:
    return contents(value) if type(value) is Container else value


def _container_method(method: str, name: str, *, reflected: bool = False) -> Callable[[Container, Any], Any]:
    """An operator: the program's own between two objects of its own; else that of the contents."""

    def apply(self: Container, other: object) -> Any:
        own = object.__getattribute__(self, "_overrides")
        if number_of(other) is not None and method in own:
            return operate(self, name, other, reflected=reflected)
        ours, theirs = contents(self), _plain(other)
        return getattr(operator, name)(*((theirs, ours) if reflected else (ours, theirs)))

    return apply


for _name in BINARY:
    _method = _name.rstrip("_")
    setattr(Container, f"__{_method}__", _container_method(f"__{_method}__", _name))
    setattr(Container, f"__r{_method}__", _container_method(f"__r{_method}__", _name, reflected=True))
for _name in COMPARISONS:
    setattr(Container, f"__{_name}__", _container_method(f"__{_name}__", _name))


def _kept_class(base: Any) -> Any:
    """A subclass of a plain type whose instances stand for an object of the program's."""

    def get(self: Any, name: str) -> Any:
        if name.startswith("__") or name in PREDICATES:
            return base.__getattribute__(self, name)
        own = object.__getattribute__(self, "__dict__")
        if name not in own["_overrides"] and hasattr(base, name):
            return base.__getattribute__(self, name)
        return ask(self, "get", name)

    def overridden(method: str, operation: str, *operands: object) -> Callable[..., Any]:
        def apply(self: Any, *arguments: Any) -> Any:
            if method in object.__getattribute__(self, "__dict__")["_overrides"]:
                return ask(self, operation, *operands, *arguments)
            return getattr(base, method)(self, *arguments)

        return apply

    def operated(method: str, name: str, *, reflected: bool = False) -> Callable[..., Any]:
        def apply(self: Any, other: object) -> Any:
            own = object.__getattribute__(self, "__dict__")
            if number_of(other) is not None and method in own["_overrides"]:
                return operate(self, name, other, reflected=reflected)
            return getattr(base, method)(self, other)

        return apply

    body: dict[str, Any] = {
        "__getattribute__": get,
        "__call__": lambda self, *arguments, **options: ask(self, "call", list(arguments), options),
        "__copy__": lambda self: self,
        "__deepcopy__": lambda self, memo: self,
        "__hash__": base.__hash__,
        "__repr__": overridden("__repr__", "repr"),
        "__str__": overridden("__str__", "str"),
    }
    for method, operation in (("__len__", "len"), ("__bool__", "bool"), ("__getitem__", "item")):
        if hasattr(base, method):
            body[method] = overridden(method, operation)
    for name in (*BINARY, *COMPARISONS):
        plain = name.rstrip("_")
        for method, reflected in ((f"__{plain}__", False), (f"__r{plain}__", True)):
            if hasattr(base, method):
                body[method] = operated(method, name, reflected=reflected)
    for name in UNARY:
        if hasattr(base, f"__{name}__"):
            body[f"__{name}__"] = overridden(f"__{name}__", "unary", name)
    return type(base.__name__, (base, Kept), body)


_KEPT: dict[type, Any] = {base: _kept_class(base) for base in (str, float, int, tuple, bytes, frozenset)}
