"""Standard input and output of a program that runs by itself, as a process of the interpreter's would have them."""

from __future__ import annotations

import builtins
import contextlib
import gc
import io
import os
import sys
from typing import Any

_PATHS = {
    f"{folder}{name}": number
    for number, stream in enumerate(("stdin", "stdout", "stderr"))
    for folder, name in (("/dev/", stream), ("/dev/fd/", number), ("/proc/self/fd/", number))
}
_true_open, _true_os_open = io.open, os.open


def attach() -> None:
    """Opens the standard files, and gives them the paths that no sandbox has."""
    for name, fd, mode, errors in (
        ("stdin", 0, "r", "surrogateescape"),
        ("stdout", 1, "w", "surrogateescape"),
        ("stderr", 2, "w", "backslashreplace"),
    ):
        # The zygote's own belong to its own files.
        stream = open(fd, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    builtins.open = io.open = _open
    os.open = _os_open


def flush() -> None:
    """Writes out what is left in open files: the interpreter does at its end, which this process does not come to."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        _flush(stream)
    # Text first: it is written into a buffer of the other kind.
    for kinds in ((io.TextIOWrapper,), (io.BufferedWriter, io.BufferedRandom)):
        for thing in gc.get_objects():
            if issubclass(type(thing), kinds):
                _flush(thing)


def _flush(file: Any) -> None:
    with contextlib.suppress(ValueError):  # closed, or detached from its buffer
        if file is not None:
            file.flush()


def _open(file: Any, *arguments: Any, **options: Any) -> Any:
    fd = _number(file)
    return _true_open(file if fd is None else os.dup(fd), *arguments, **options)


def _os_open(path: Any, *arguments: Any, **options: Any) -> int:
    fd = _number(path)
    return _true_os_open(path, *arguments, **options) if fd is None else os.dup(fd)


def _number(path: Any) -> int | None:
    try:
        return _PATHS.get(os.fsdecode(path))
    except TypeError:  # a descriptor
        return None
