"""The process that executes a generated program, and nothing else.  All that it says is the program's answer."""

from __future__ import annotations

import atexit
import builtins
import gc
import linecache
import os
import sys
import threading
import traceback
import types
from typing import Any

from . import codec, standard_files, usual
from .held import Held
from .operations import OPERATIONS, builtin_name

_NAME = "program.py"
_SHOWN = "<program>"


def run_script(source: str, imports: bool) -> None:
    """Runs a program as `__main__`, and ends the process as the interpreter would."""
    standard_files.attach()
    code: object = 0
    try:
        _execute(source, "__main__", imports)
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
        standard_files.flush()
        if "__del__" in source:  # as the interpreter does; it takes time, which few programs need
            vars(sys.modules["__main__"]).clear()
            gc.collect()
            standard_files.flush()
    except BaseException as error:  # noqa: BLE001
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        code = 1
    os._exit((code or 0) & 0xFF)


def serve(source: str, link: int, imports: bool) -> None:
    """Runs a program as a module, says what it defines, and then does what the test runner asks for."""
    try:
        module, given = _execute(source, "program", imports)
    except BaseException as error:  # noqa: BLE001
        codec.send(link, {"failed": describe(error)})
        return
    held = Held(vars(module))
    defined = [
        [
            name,
            value.__name__ if isinstance(value, types.ModuleType) else "",
            held.keep(value),
            builtin_name(value) if isinstance(value, type) and issubclass(value, BaseException) else "",
        ]
        for name, value in vars(module).items()
        if not name.startswith("__") and not (name in given and value is given[name])
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


def _execute(source: str, name: str, imports: bool) -> tuple[types.ModuleType, dict[str, Any]]:
    """The module that a program makes, and the names that it was given."""
    source = source.removeprefix("\ufeff")
    module = types.ModuleType(name)
    # The program is the main one of this process, called without arguments.
    sys.modules[name] = sys.modules["__main__"] = module
    module.__file__ = os.path.join(os.getcwd(), _NAME)
    sys.argv = [_NAME]
    sys.orig_argv = ["python", _NAME]
    linecache.cache[_SHOWN] = linecache.cache[module.__file__] = (
        len(source),
        None,
        source.splitlines(keepends=True),
        _SHOWN,
    )
    code = compile(source, _SHOWN, "exec", dont_inherit=True)
    given = usual.names_for(code) if imports else {}
    vars(module).update(given)
    exec(code, vars(module))
    return module, {name: value for name, value in given.items() if name not in usual.CLASSES}


def _answer(request: dict[str, Any], held: Held) -> dict[str, Any]:
    """Carries out one request: an operation, the number of an object, and operands."""
    operation, number, *encoded = request["do"]

    def changes() -> list[Any]:
        return held.mirrors.changes(held.encode) if request["compare"] else []

    try:
        held.mirrors.update(request["objects"], held.decode)
        operands = [held.decode(operand) for operand in encoded]
        try:
            value = OPERATIONS[operation](held.find(number), *operands)
        except StopIteration as error:
            if operation == "next":
                return {"stop": True, "objects": changes()}
            # To raise it anywhere else would end a loop of the test's; generators do the same.
            raise RuntimeError("the program raised StopIteration") from error
        reply = {"value": held.contents(value) if operation == "contents" else held.encode(value)}
        if operation == "call":
            # What the program changed in its arguments, the tests see in theirs.
            after = [held.encode(operand) for operand in operands]
            reply["changed"] = after if after != encoded else None
        return reply | {"objects": changes()}
    except BaseException as error:  # noqa: BLE001
        return {
            "raised": builtin_name(type(error)),
            "own": [held.keep(kind) for kind in type(error).__mro__ if vars(builtins).get(kind.__name__) is not kind],
            "number": held.keep(error),
            "arguments": [held.encode(argument) for argument in error.args],
            "text": describe(error),
        }
