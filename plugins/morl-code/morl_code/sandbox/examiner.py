"""The process that runs a test.  It never executes a line of the program: it asks the program's process for values."""

from __future__ import annotations

import builtins
import contextlib
import importlib
import sys
import traceback
import types
from collections import deque
from collections.abc import Container, Iterator, Sequence
from typing import Any

from . import codec

_GONE = "the program ended before the tests did"
_NONSENSE = "the program's process sent what is no value"
_ERROR_LENGTH = 500

# What tests ask a result of these types for is a yes or no; an object of the program's making would say yes.
_PREDICATES = {
    name
    for kind in (str, bytes, set, float)
    for name in dir(kind)
    if name.startswith("is") or name in ("startswith", "endswith")
}


class ProgramFailed(BaseException):
    """The program did not run, or is gone.  No `Exception`: a test that expects one must not take this for it."""


class Program:
    """The program's process, as the tests see it.

    Attributes:
        alive: the last request was answered, so the next one can be.
    """

    def __init__(self, link: int) -> None:
        self._link = link
        self._defined: list[tuple[str, str, int]] = []
        self._raised: list[tuple[BaseException, str]] = []
        self._stand_ins: dict[int, StandIn] = {}
        self.alive = False

    def start(self) -> None:
        """Waits for the program to define what it defines.

        Raises:
            ProgramFailed: it raised instead.
        """
        greeting = self._receive()
        with _sense():
            if "failed" in greeting:
                raise ProgramFailed(str(greeting["failed"]))
            self._defined = [(str(name), str(module), int(number)) for name, module, number in greeting["defined"]]

    def definitions(self, used: Container[str], names: Sequence[str] | None) -> dict[str, Any]:
        """What the program defines of the names in `used`; `morl_code.judge.Program.names` says which of them count."""
        found = {}
        for name, module, number in self._defined:
            if name not in used or (hasattr(builtins, name) if names is None else name not in names):
                continue
            true_name = name if names is None and name in sys.stdlib_module_names else module
            if true_name.partition(".")[0] in sys.stdlib_module_names:
                found[name] = importlib.import_module(true_name)
            elif not module:
                found[name] = self.ask("value", number)
        return found

    def ask(self, operation: str, number: int, *operands: object) -> Any:
        """Has the program's process carry out an operation, and gives its value, or raises what it raised."""
        self._send([operation, number, *(codec.encode(operand, _number) for operand in operands)])
        reply = self._receive()
        if "stop" in reply:
            raise StopIteration
        if "raised" in reply:
            raise self._exception(reply)
        with _sense():
            if reply.get("changed"):
                _restore(operands[0], codec.decode(reply["changed"][0], self._stand_in))
            return codec.decode(reply["value"], self._stand_in)

    def raised(self, error: BaseException) -> str | None:
        """What the program said of an exception; None if it is none of its own."""
        return next((text for own, text in self._raised if own is error), None)

    def _stand_in(self, number: int) -> StandIn:
        return self._stand_ins.setdefault(number, StandIn(self, number))

    def _exception(self, reply: dict[str, Any]) -> BaseException:
        error: BaseException
        with _sense():
            text = str(reply["text"])
            arguments = [codec.decode(argument, self._stand_in) for argument in reply["arguments"]]
        try:
            cls = getattr(builtins, str(reply["raised"]))
            error = cls(*arguments) if issubclass(cls, Exception) else RuntimeError(text)
        except (AttributeError, TypeError):  # no exception, or not of these arguments
            error = RuntimeError(text)
        self._raised.append((error, text))
        return error

    def _send(self, message: codec.Encoded) -> None:
        self.alive = False
        try:
            codec.send(self._link, message)
        except OSError:
            raise ProgramFailed(_GONE) from None

    def _receive(self) -> dict[str, Any]:
        try:
            with _sense():
                reply = codec.receive(self._link)
        except (EOFError, OSError):
            raise ProgramFailed(_GONE) from None
        if not isinstance(reply, dict):
            raise ProgramFailed(_NONSENSE)
        self.alive = True
        return reply


@contextlib.contextmanager
def _sense() -> Iterator[None]:
    """What cannot be understood is the program's doing, and no exception that a test may have been waiting for."""
    try:
        yield
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError, MemoryError) as error:
        raise ProgramFailed(f"{_NONSENSE} ({type(error).__name__}: {error!s:.100})".strip()) from None


class StandIn:
    """An object that stays in the program's process.

    It can be called, indexed and iterated, its attributes read and set.  It equals itself only, and neither counts nor
    compares: an operator would hand the expected value to the program, and believe what the program says of it.
    """

    __slots__ = ("_number", "_program")

    def __init__(self, program: Program, number: int) -> None:
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments: object, **options: object) -> Any:
        return _ask(self, "call", list(arguments), options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in _PREDICATES:
            raise AttributeError(f"an object of the program's making has no {name!r} for tests")
        return _ask(self, "get", name)

    def __setattr__(self, name: str, value: object) -> None:
        _ask(self, "set", name, value)

    def __iter__(self) -> Iterator[Any]:
        iterator = _ask(self, "iter")
        # A plain value, where the object is its own plain form by now.
        return iter(iterator) if not isinstance(iterator, StandIn) else iterator

    def __next__(self) -> Any:
        return _ask(self, "next")

    def __bool__(self) -> bool:
        return bool(_ask(self, "bool"))

    def __len__(self) -> int:
        return int(_ask(self, "len"))

    def __getitem__(self, key: object) -> Any:
        return _ask(self, "item", key)

    def __setitem__(self, key: object, value: object) -> None:
        _ask(self, "put", key, value)

    def __str__(self) -> str:
        return str(_ask(self, "str"))

    def __repr__(self) -> str:
        return str(_ask(self, "repr"))


def examine(link: int, setup: str, tests: Sequence[str], names: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    """Runs tests, one after the other, against the program at the other end of `link`.

    Yields:
        First, whether the program ran: "started", and if not, the "error".  Then for each test "passed", "error", which
        says what went wrong, and "ran", false if that was no wrong answer.  Ends early when the program's process is
        gone: the tests that are left need another one.
    """
    program = Program(link)
    try:
        program.start()
    except ProgramFailed as error:
        yield {"started": False, "error": str(error)[:_ERROR_LENGTH]}
        return
    yield {"started": True}
    for test in tests:
        yield _examine(program, setup, test, names)
        if not program.alive:
            return


def _examine(program: Program, setup: str, test: str, names: Sequence[str] | None) -> dict[str, Any]:
    try:
        codes = [
            compile(text, name, "exec", dont_inherit=True) for text, name in ((setup, "<setup>"), (test, "<test>"))
        ]
        used = {name for code in codes for name in _names(code)}
        namespace = {"__name__": "tests", **program.definitions(used, names)}
        for code in codes:
            exec(code, namespace)
        if not program.alive:
            raise ProgramFailed(_GONE)
    except ProgramFailed as error:
        return _failure(str(error), ran=False)
    except BaseException as error:  # noqa: BLE001 - whatever a test raises is its result
        text = program.raised(error)
        if text is None and isinstance(error, AssertionError):
            return _failure(f"wrong answer: {_failing_line(error, test) or error}", ran=True)
        return _failure(f"{type(error).__name__}: {error}" if text is None else text, ran=False)
    return {"passed": True, "error": None, "ran": True}


def _failure(text: str, *, ran: bool) -> dict[str, Any]:
    return {"passed": False, "error": text[:_ERROR_LENGTH], "ran": ran}


def _failing_line(error: BaseException, test: str) -> str:
    lines = test.splitlines()
    numbers = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<test>"]
    return lines[numbers[-1] - 1].strip() if numbers and numbers[-1] and numbers[-1] <= len(lines) else ""


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _ask(stand_in: StandIn, operation: str, *operands: object) -> Any:
    program = object.__getattribute__(stand_in, "_program")
    return program.ask(operation, object.__getattribute__(stand_in, "_number"), *operands)


def _number(value: object) -> int:
    if not isinstance(value, StandIn):
        raise TypeError(f"{type(value).__name__} objects cannot be handed to the program; plain values can")
    return int(object.__getattribute__(value, "_number"))


def _restore(arguments: Any, after: Any) -> None:
    """Gives the arguments of a call, where they can change, the contents that they had at its end."""
    for argument, new in zip(arguments, after, strict=True):
        if type(argument) is not type(new):
            continue
        if isinstance(argument, list | bytearray):
            argument[:] = new
        elif isinstance(argument, dict | set | deque):
            argument.clear()
            (argument.extend if isinstance(argument, deque) else argument.update)(new)
