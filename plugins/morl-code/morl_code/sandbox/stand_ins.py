"""Objects of the program's, as a test sees them: a stand-in has each thing that is done with it done in the program.

What a test compares with its own values is another matter, for the program must neither learn them nor be believed
about them.  So a stand-in equals no plain value and has no order with one; an operator with a plain value may give
another object of the program's, but no plain value.  Instances of subclasses of plain types keep the program's methods,
but compare, and count, by the plain value that they hold (`stand_ins_plain`).
"""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .operations import BINARY, COMPARISONS, UNARY, builtin_name

if TYPE_CHECKING:
    from .runner import Program

# What tests ask a result of these types for is a yes or no; an object of the program's making would say yes.
PREDICATES = {
    name
    for kind in (str, bytes, set, float)
    for name in dir(kind)
    if name.startswith("is") or name in ("startswith", "endswith")
}
_DESCRIPTIONS = {"__name__", "__qualname__", "__wrapped__", "__members__", "__annotations__", "__dict__", "__func__"}
_SHOWN = ("<test>", "<setup>")


class StandIn:
    """An object that stays in the program's process."""

    __slots__ = ("_number", "_program")

    def __init__(self, program: Program, number: int) -> None:
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments: object, **options: object) -> Any:
        return ask(self, "call", list(arguments), options)

    def __getattr__(self, name: str) -> Any:
        if (name.startswith("__") and name not in _DESCRIPTIONS) or name in PREDICATES:
            raise AttributeError(f"an object of the program's making has no {name!r} for tests")
        return ask(self, "get", name)

    def __setattr__(self, name: str, value: object) -> None:
        ask(self, "set", name, value)

    def __iter__(self) -> Iterator[Any]:
        iterator = ask(self, "iter")
        # A plain value, where the object is its own plain form by now.
        return iter(iterator) if not isinstance(iterator, StandIn) else iterator

    def __next__(self) -> Any:
        return ask(self, "next")

    def __bool__(self) -> bool:
        _no_guess(self, "bool")
        return bool(ask(self, "bool"))

    def __len__(self) -> int:
        return int(ask(self, "len"))

    def __hash__(self) -> int:
        return int(ask(self, "hash"))

    def __getitem__(self, key: object) -> Any:
        return ask(self, "item", key)

    def __setitem__(self, key: object, value: object) -> None:
        ask(self, "put", key, value)

    def __delitem__(self, key: object) -> None:
        ask(self, "drop", key)

    def __str__(self) -> str:
        return str(ask(self, "str"))

    def __repr__(self) -> str:
        return str(ask(self, "repr"))

    def __instancecheck__(self, instance: object) -> bool:
        return number_of(instance) is not None and bool(ask(self, "is_a", instance))

    def __subclasscheck__(self, kind: object) -> bool:
        return number_of(kind) is not None and bool(ask(self, "is_under", kind))

    def __format__(self, how: str) -> str:
        return str(ask(self, "format", how))

    def __reversed__(self) -> Any:
        return ask(self, "reversed")

    def __int__(self) -> int:
        _no_guess(self, "int")
        return int(ask(self, "int"))

    def __round__(self, *digits: int) -> Any:
        _no_guess(self, "round")
        return ask(self, "round", *digits)

    def __enter__(self) -> Any:
        return ask(self, "enter")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> bool:
        name = builtin_name(kind) if kind else None
        wanted = _is_raised_by_test(error, trace)
        return bool(ask(self, "leave", name, str(error) if wanted else "")) and wanted


def ask(stand_in: object, operation: str, *operands: object) -> Any:
    """Has the program carry out an operation with an object of its own."""
    program = object.__getattribute__(stand_in, "_program")
    return program.ask(operation, object.__getattribute__(stand_in, "_number"), *operands)


def number_of(value: object) -> int | None:
    """Of the object of the program's that this stands for; None if it is none."""
    if issubclass(type(value), StandIn | Kept):
        return int(object.__getattribute__(value, "_number"))
    return None


class Kept:
    """Mark of plain values that are stand-ins, too; they have the attributes of one."""


def operate(stand_in: object, name: str, other: object, *, reflected: bool = False) -> Any:
    """Has the program apply an operator."""
    program, number = (object.__getattribute__(stand_in, each) for each in ("_program", "_number"))
    ours = number_of(other) is not None
    result = program.ask("binary", number, name, other, reflected)
    if ours and (name in COMPARISONS or not {number, number_of(other)} & program.guesses):
        return result
    return _guess(program, result, name)


def _guess(program: Program, result: Any, name: str) -> Any:
    """A result that the program may have chosen by the value that it was to be compared with."""
    number = number_of(result)
    if number is None or not isinstance(result, StandIn):
        raise TypeError(f"{name} of an object of the program's making and a plain value gives no plain value to tests")
    program.guesses.add(number)
    return result


def _no_guess(stand_in: StandIn, name: str) -> None:
    program, number = (object.__getattribute__(stand_in, each) for each in ("_program", "_number"))
    if number in program.guesses:
        raise TypeError(f"{name} of what the program made of a value of the test's is not asked for")


def _binary(name: str, *, reflected: bool) -> Callable[[StandIn, object], Any]:
    return lambda self, other: operate(self, name, other, reflected=reflected)


def _comparison(name: str) -> Callable[[StandIn, object], Any]:
    def compare(self: StandIn, other: object) -> Any:
        return operate(self, name, other) if number_of(other) is not None else NotImplemented

    return compare


def _unary(name: str) -> Callable[[StandIn], Any]:
    def apply(self: StandIn) -> Any:
        program, number = (object.__getattribute__(self, each) for each in ("_program", "_number"))
        result = program.ask("unary", number, name)
        return _guess(program, result, name) if number in program.guesses else result

    return apply


for _name in BINARY:
    _plain = _name.rstrip("_")
    setattr(StandIn, f"__{_plain}__", _binary(_name, reflected=False))
    setattr(StandIn, f"__r{_plain}__", _binary(_name, reflected=True))
    setattr(StandIn, f"__i{_plain}__", _binary(f"i{_plain}", reflected=False))
for _name in COMPARISONS:
    setattr(StandIn, f"__{_name}__", _comparison(_name))
for _name in UNARY:
    setattr(StandIn, f"__{_name}__", _unary(_name))


def _is_raised_by_test(error: BaseException | None, trace: Any) -> bool:
    """Whether a test raised this by a statement of its own that is no assertion.

    A program that is asked whether to go on would say no to whatever shows that it is wrong.
    """
    if not isinstance(error, Exception) or isinstance(error, AssertionError):
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    return code.co_filename in _SHOWN and code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]
