"""What every command does with its arguments and its errors."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeAlias

from rich.console import Console
from rich.markup import escape

from morl.errors import MorlError

Command: TypeAlias = Callable[[list[str]], int]
"""A command of `morl`: takes the arguments after its name, returns the exit code."""


def call(command: Command, arguments: Sequence[str]) -> int:
    """Calls a command and reports its errors; returns its exit code, 2 for an error of morl, 130 when interrupted.

    `--traceback` among the arguments, or MORL_TRACEBACK=1 in the environment, lets errors through as they are.
    """
    traceback = "--traceback" in arguments or os.environ.get("MORL_TRACEBACK") == "1"
    try:
        return command([argument for argument in arguments if argument != "--traceback"])
    except MorlError as error:
        if traceback:
            raise
        text = "\n".join([str(error), *getattr(error, "__notes__", ())])
        Console(stderr=True).print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True, highlight=False)
        return 2
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted")
        return 130


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether the help of a command is asked for."""
    return any(argument in ("--help", "-h") for argument in arguments)
