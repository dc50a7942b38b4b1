"""The process of a session: runs one text after the other, all of which see the same variables."""

from __future__ import annotations

import ast
import contextlib
import itertools
import linecache
import os
import random
import sys
import traceback
import types
from collections.abc import Iterator
from typing import Any, TextIO

from . import standard_files


def serve(source: int, link: int, seed: int) -> None:
    """Runs what stands in the file `source` each time that `link` says so.

    Args:
        source: file of the text.
        link: socket; of every call comes its number, a byte, and goes back with a 1, or a 0 after an error.
        seed: of `random`.
    """
    random.seed(seed)
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv, sys.orig_argv = [""], ["python"]
    read, write, streams = os.read, os.write, list[TextIO]()
    calls = 0
    while number := read(link, 1):
        calls += 1
        if not streams or any(stream.closed for stream in streams):  # `exit()` closes standard input, for one
            standard_files.attach()
            streams = [sys.stdin, sys.stdout, sys.stderr]
        text = os.pread(source, os.fstat(source).st_size, 0).decode("utf-8", "surrogatepass")
        done = _run(text, f"<call {calls}>", vars(module))
        for fd, stream in enumerate(streams[1:], 1):
            done = _flush(stream, fd) and done
        write(link, number + bytes([done]))


def _flush(stream: TextIO, fd: int) -> bool:
    """Whether all was written; what does not fit is lost, for it does not belong to the next call."""
    try:
        if not stream.closed:
            stream.flush()
    except OSError:
        full = os.dup(fd)
        os.dup2(0, fd)  # which is /dev/null
        stream.flush()
        os.dup2(full, fd)
        os.close(full)
        return False
    return True


def _run(text: str, name: str, names: dict[str, Any]) -> bool:
    """Runs a text; the value of an expression that it ends with is printed, as by an interpreter that is typed into."""
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    try:
        tree = ast.parse(text, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec", dont_inherit=True), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval", dont_inherit=True), names)
            if value is not None:
                print(repr(value))
    except SystemExit as error:
        if error.code not in (None, 0):
            print(error.code, file=sys.stderr)
        return error.code in (None, 0)
    except BaseException as error:  # noqa: BLE001 - whatever a program raises is its result
        with contextlib.suppress(BaseException):
            print("".join(_lines(error)), end="", file=sys.stderr)
        return False
    return True


def _lines(error: BaseException) -> Iterator[str]:
    """A traceback without the lines of this package, and with as few of the program's as tell it."""
    found = traceback.TracebackException.from_exception(error, limit=-20)
    each: traceback.TracebackException | None = found
    while each is not None:
        frames = itertools.dropwhile(lambda frame: not frame.filename.startswith("<call "), each.stack)
        shown = [frame for frame in frames if os.path.dirname(frame.filename) != os.path.dirname(__file__)]
        each.stack = traceback.StackSummary.from_list(shown)
        each = each.__cause__ or each.__context__
    return found.format()
