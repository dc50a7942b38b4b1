"""What every command does with its arguments and its errors."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeAlias

from morl.errors import ConfigError, MorlError

_formatwarning = warnings.formatwarning

Command: TypeAlias = Callable[[list[str]], int]
"""A command of `morl`: takes the arguments after its name, returns the exit code."""


class Parser(argparse.ArgumentParser):
    """Reads the arguments of `morl NAME`; what is wrong with them is an error of the input like any other."""

    def __init__(self, name: str) -> None:
        super().__init__(prog=f"morl {name}", add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{self.prog}: {message}; see {self.prog} --help")


def call(command: Command, arguments: Sequence[str]) -> int:
    """Calls a command and reports its errors; returns its exit code, 2 for an error of morl, 130 when interrupted.

    `--traceback` among the arguments, or MORL_TRACEBACK=1 in the environment, lets errors through as they are.
    """
    traceback = "--traceback" in arguments or os.environ.get("MORL_TRACEBACK") == "1"
    before, warnings.formatwarning = warnings.formatwarning, _warning
    try:
        return command([argument for argument in arguments if argument != "--traceback"])
    except MorlError as error:
        if traceback:
            raise
        text = "\n".join([str(error), *getattr(error, "__notes__", ())])
        _complain("error:", f" {text}")
        return 2
    except OSError as error:
        if traceback or error.filename is None:
            raise
        _complain("error:", f" {error.filename}: {error.strerror} ({type(error).__name__}; --traceback shows where)")
        return 2
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    finally:
        warnings.formatwarning = before


def _warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Of morl's own warnings the text alone: it says what to do, and the line of code that gave it says nothing."""
    if Path(filename).is_relative_to(Path(__file__).parent):
        return f"warning: {message}\n"
    return _formatwarning(message, category, filename, lineno, line)


def _complain(head: str, text: str = "") -> None:
    """To stderr, with the head in colour where rich is there: the base distribution does without it."""
    try:
        from rich.console import Console
        from rich.markup import escape
    except ModuleNotFoundError:
        print(f"{head}{text}", file=sys.stderr)
        return
    style = "[bold red]" if text else "[default]"
    Console(stderr=True).print(f"{style}{head}[/]{escape(text)}", soft_wrap=True, highlight=False)


@contextmanager
def interrupts_as_such() -> Iterator[None]:
    """Within it an interrupt is one, where Lightning turns it into exit(1)."""
    try:
        yield
    except SystemExit as stop:
        if stop.code != 1:
            raise
        raise KeyboardInterrupt from stop


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether the help of a command is asked for."""
    return any(argument in ("--help", "-h") or argument.startswith("--help=") for argument in arguments)
