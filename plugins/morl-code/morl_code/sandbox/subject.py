"""The process that executes a generated program, and nothing else.  All that it says is the program's answer."""

from __future__ import annotations

import atexit
import builtins
import os
import sys
import threading
import traceback
import types
from collections.abc import Callable
from typing import Any

from . import codec


def run_script(source: str) -> None:
    """Runs a program as `__main__`, and ends the process as the interpreter would."""
    for name, fd, mode, errors in (
        ("stdin", 0, "r", "surrogateescape"),
        ("stdout", 1, "w", "surrogateescape"),
        ("stderr", 2, "w", "backslashreplace"),
    ):
        # The zygote's own belong to its own files.
        stream = open(fd, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    code: object = 0
    try:
        _execute(source, "__main__")
    except SystemExit as error:
        code = error.code
    except BaseException:  # noqa: BLE001 - whatever a program raises is its result
        traceback.print_exc(limit=-3)
        code = 1
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # waits for the program's threads, as at a normal exit
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:  # noqa: BLE001
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        code = 1
    os._exit((code or 0) & 0xFF)


def serve(source: str, link: int) -> None:
    """Runs a program as a module, says what it defines, and then does what the examiner asks for."""
    try:
        module = _execute(source, "program")
    except BaseException as error:  # noqa: BLE001
        codec.send(link, {"failed": describe(error)})
        return
    held = _Held()
    defined = [
        [name, value.__name__ if isinstance(value, types.ModuleType) else "", held.keep(value)]
        for name, value in vars(module).items()
        if not name.startswith("__")
    ]
    codec.send(link, {"defined": defined})
    while True:
        codec.send(link, _answer(codec.receive(link), held))


def describe(error: BaseException) -> str:
    """One line on an exception, whatever its class does."""
    if isinstance(error, SystemExit):
        return f"the program ended itself (exit code {error.code!r:.20})"
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - the class is the program's
        text = "?"
    return f"{type(error).__name__}: {text}"[:500] if text else type(error).__name__


def _execute(source: str, name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, "<program>", "exec", dont_inherit=True), vars(module))
    return module


class _Held:
    """Objects that stay here, by the number that stands for them."""

    def __init__(self) -> None:
        self._objects: list[object] = []
        self._numbers: dict[int, int] = {}

    def keep(self, value: object) -> int:
        number = self._numbers.setdefault(id(value), len(self._objects))
        if number == len(self._objects):
            self._objects.append(value)
        return number

    def find(self, number: int) -> Any:
        return self._objects[number]


def _answer(request: list[Any], held: _Held) -> dict[str, Any]:
    """Carries out one request: an operation, the number of an object, and operands."""
    operation, number, *encoded = request
    try:
        operands = [codec.decode(operand, held.find) for operand in encoded]
        value = _OPERATIONS[operation](held.find(number), *operands)
        reply = {"value": codec.encode(value, held.keep)}
        if operation == "call":
            # What the program changed in its arguments, the tests see in theirs.
            after = [codec.encode(operand, held.keep) for operand in operands]
            reply["changed"] = after if after != encoded else None
        return reply
    except StopIteration:
        return {"stop": True}
    except BaseException as error:  # noqa: BLE001
        named = (kind.__name__ for kind in type(error).__mro__ if vars(builtins).get(kind.__name__) is kind)
        arguments = [codec.encode(argument, held.keep) for argument in error.args]
        return {"raised": next(named, "Exception"), "arguments": arguments, "text": describe(error)}


def _call(value: Callable[..., object], arguments: list[object], options: dict[str, object]) -> object:
    return value(*arguments, **options)


_OPERATIONS: dict[str, Callable[..., object]] = {
    "value": lambda value: value,
    "call": _call,
    "get": getattr,
    "set": setattr,
    "iter": iter,
    "next": lambda value: next(value),
    "len": len,
    "bool": bool,
    "item": lambda value, key: value[key],
    "put": lambda value, key, item: value.__setitem__(key, item),
    "str": str,
    "repr": repr,
}
