"""The test runner: the process that runs tests.  It never executes a line of the program: it asks the program's process
for values.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import sys
import traceback
from collections import deque
from collections.abc import Container, Iterator, Sequence
from typing import Any

from . import codec, stand_ins, stand_ins_plain
from .own_objects import OwnObjects
from .usual import names_in

_GONE = "the program ended before the tests did"
_NONSENSE = "the program's process sent what is no value"
_ERROR_LENGTH = 500
_LOOKS = ("get", "bool", "len", "hash")  # operations in which programs change nothing, as a rule
_FEW = 100


class ProgramFailed(BaseException):
    """The program did not run, or is gone.  No `Exception`: a test that expects one must not take this for it."""


class Program:
    """The program's process, as the tests see it.

    Attributes:
        alive: the last request was answered, so the next one can be.
        guesses: numbers of objects that an operator made from a plain value of the tests', which the program so knows.
    """

    def __init__(self, link: int) -> None:
        self._link = link
        self._defined: list[tuple[str, str, int, str]] = []
        self._raised: list[tuple[BaseException, str]] = []
        self._stand_ins: dict[int, stand_ins.StandIn] = {}
        self._exceptions: dict[int, type[Exception]] = {}
        self._own = OwnObjects()
        self.guesses: set[int] = set()
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
            self._defined = [
                (str(name), str(module), int(number), str(base)) for name, module, number, base in greeting["defined"]
            ]

    def definitions(self, used: Container[str], names: Sequence[str] | None) -> dict[str, Any]:
        """What the program defines of the names in `used`; `morl_code.judge.Program.names` says which of them count."""
        found: dict[str, Any] = {}
        for name, module, number, base in self._defined:
            if name not in used or (hasattr(builtins, name) if names is None else name not in names):
                continue
            true_name = name if names is None and name in sys.stdlib_module_names else module
            if true_name.partition(".")[0] in sys.stdlib_module_names:
                found[name] = importlib.import_module(true_name)
            elif base:
                found[name] = self._exception_class(name, number, base)
            elif not module:
                found[name] = self.ask("value", number)
        return found

    def ask(self, operation: str, number: int, *operands: object) -> Any:
        """Has the program's process carry out an operation, and gives its value, or raises what it raised."""
        encoded = [self._encode(operand) for operand in operands]
        # To compare many objects at each look at one would take time with their square.
        compare = operation not in _LOOKS or len(self._own) <= _FEW
        objects = self._own.changes(self._encode) if compare else []
        self._send({"do": [operation, number, *encoded], "objects": objects, "compare": compare})
        reply = self._receive()
        if "raised" in reply:
            raise self._exception(reply)
        with _sense():
            self._own.update(reply["objects"], self._decode)
        if "stop" in reply:
            # Anywhere else it would end a loop of the test's, which then compares nothing.
            raise StopIteration if operation == "next" else RuntimeError("the program raised StopIteration")
        with _sense():
            if reply.get("changed"):
                arguments, options = (self._decode(each) for each in reply["changed"])
                _restore(operands[0], arguments)
                _restore(list(operands[1].values()), list(options.values()))  # type: ignore[attr-defined]
            return self._decode(reply["value"])

    def raised(self, error: BaseException) -> str | None:
        """What the program said of an exception; None if it is none of its own."""
        return next((text for own, text in self._raised if own is error), None)

    def _encode(self, value: object) -> codec.Encoded:
        return codec.encode(value, _refuse, self._special)

    def _special(self, value: object) -> codec.Encoded | None:
        number = stand_ins.number_of(value)
        return {"h": number} if number is not None else self._own.encoded(value)

    def _decode(self, encoded: codec.Encoded) -> Any:
        return codec.decode(encoded, self._stand_in, self._decode_special)

    def _decode_special(self, tag: str, parts: Any, inner: Any) -> object:
        if tag == "n":
            return self._own.find(parts)
        number, given, own = parts
        overrides = frozenset(str(name) for name in own)
        if tag == "k":
            return stand_ins_plain.immutable(self, int(number), inner(given), overrides)
        if tag == "m":
            return self._stand_ins.setdefault(
                int(number), stand_ins_plain.mutable(self, int(number), str(given), overrides)
            )
        raise LookupError(tag)

    def _stand_in(self, number: int) -> stand_ins.StandIn:
        return self._stand_ins.setdefault(number, stand_ins.StandIn(self, number))

    def _exception_class(self, name: str, number: int, base: str) -> type[Exception]:
        """A class of this process for one of the program's, so that tests can expect it."""
        if number not in self._exceptions:
            with _sense():
                parent = getattr(builtins, base)
                parent = parent if issubclass(parent, Exception) else Exception
                self._exceptions[number] = type(
                    name, (parent,), {"__getattr__": lambda *of: self._attribute_of_exception(*of)}
                )
        return self._exceptions[number]

    def _attribute_of_exception(self, error: BaseException, name: str) -> Any:
        number = vars(error).get("_number")
        if number is None or name.startswith("__"):
            raise AttributeError(name)
        return self.ask("get", number, name)

    def _exception(self, reply: dict[str, Any]) -> BaseException:
        error: BaseException
        with _sense():
            text = str(reply["text"])
            arguments = [self._decode(argument) for argument in reply["arguments"]]
            own = [int(each) for each in reply["own"]]
            number = int(reply["number"])
        try:
            cls = next((self._exceptions[each] for each in own if each in self._exceptions), None)
            cls = cls or getattr(builtins, str(reply["raised"]))
            ordinary = issubclass(cls, Exception) and not issubclass(cls, StopIteration | StopAsyncIteration)
            error = cls(*arguments) if ordinary else RuntimeError(text)
        except (AttributeError, TypeError):  # no exception, or not of these arguments
            error = RuntimeError(text)
        if type(error) in self._exceptions.values():
            vars(error)["_number"] = number
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
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise ProgramFailed(f"{_NONSENSE} ({type(error).__name__}: {error!s:.100})".strip()) from None


def run(link: int, setup: str, tests: Sequence[str], names: Sequence[str] | None) -> Iterator[dict[str, Any]]:
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
        yield _run(program, setup, test, names)
        if not program.alive:
            return


def _run(program: Program, setup: str, test: str, names: Sequence[str] | None) -> dict[str, Any]:
    try:
        codes = [
            compile(text, name, "exec", dont_inherit=True) for text, name in ((setup, "<setup>"), (test, "<test>"))
        ]
        used = {name for code in codes for name in names_in(code)}
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


def _refuse(value: object) -> int:
    raise TypeError(f"{type(value).__name__} objects cannot be handed to the program; plain values can")


def _restore(arguments: Any, after: Any) -> None:
    """Gives the arguments of a call, where they can change, the contents that they had at its end."""
    for argument, new in zip(arguments, after, strict=True):
        if type(argument) is not type(new) or isinstance(argument, stand_ins.StandIn):
            continue
        if isinstance(argument, list | bytearray):
            argument[:] = new
        elif isinstance(argument, dict | set | deque):
            argument.clear()
            (argument.extend if isinstance(argument, deque) else argument.update)(new)
