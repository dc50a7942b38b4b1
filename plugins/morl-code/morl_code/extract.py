"""Which part of a completion is the program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, TypeAlias

Extract: TypeAlias = Literal["auto", "last-block", "first-block", "text"]

_FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)")
_PYTHON = ("python", "python3", "py")
_END_OF_THINKING = "</think>"
_FUTURE = re.compile(r"^from __future__ import [^\n]*\n?", re.MULTILINE)


def program_in(text: str, extract: Extract = "auto", *, opened_by_prompt: bool = False) -> str | None:
    r"""The program of a completion, or None where it has none.

    Blocks that say they are Python come before those that do not say; blocks of other languages, such as a sample of
    the output, are not looked at, nor is one that does not end.

    Args:
        text: of the completion; only what follows its last `</think>` is looked at.
        extract: the `last-block` or `first-block` between fences, the whole `text`, or, with `auto`, the last block of
            a text that has blocks and the whole of one that has none.
        opened_by_prompt: the prompt ends with `<think>`, so a completion without `</think>` has no program.

    >>> program_in("First:\n```python\nx = 1\n```\nBetter:\n```python\nx = 2\n```\n")
    'x = 2\n'
    >>> program_in("    return x + 1")
    '    return x + 1'
    >>> program_in("I cannot.", "last-block") is None
    True
    """
    _, end, answer = text.rpartition(_END_OF_THINKING)
    if opened_by_prompt and not end:
        return None
    if extract == "text":
        return _unless_empty(answer)
    blocks = list(_blocks(answer))
    if extract == "auto" and not blocks:
        return _unless_empty(answer)
    python = [code for language, code in blocks if language in _PYTHON]
    python = python or [code for language, code in blocks if not language]
    if not python:
        return None
    return _unless_empty(python[0] if extract == "first-block" else python[-1])


def behind(prefix: str, program: str) -> str:
    r"""The program that goes on where `prefix`, the beginning of it that the prompt gave, ends.

    The prefix of a function, up to its docstring, is a function by itself, so that a program that repeats the whole
    function only defines it again.  What is imported from `__future__` must stand first.

    >>> exec(behind('def one():\n    "1"\n', "    return 1\n"), names := {}); names["one"]()
    1
    >>> again = "from __future__ import annotations\ndef one():\n    return 1\n"
    >>> exec(behind('def one():\n    "1"\n', again), names := {}); names["one"]()
    1
    """
    future = "".join(f"{line.rstrip()}\n" for line in _FUTURE.findall(program))
    return f"{future}{prefix.rstrip()}\n{_FUTURE.sub('', program)}"


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Language and code of every fenced block, line by line: time must not explode on what a model writes."""
    opening: re.Match[str] | None = None
    code: list[str] = []
    for line in text.splitlines(keepends=True):
        fence = _FENCE.fullmatch(line.rstrip())
        if opening is None:
            if fence is not None:
                opening, code = fence, []
        elif fence is not None and not fence["info"] and fence["fence"].startswith(opening["fence"]):
            yield opening["info"].strip().lower().partition(" ")[0], "".join(code)
            opening = None
        else:
            # A fence inside a list is indented as the list is; the code's own indentation is kept.
            code.append(line.removeprefix(opening["indent"]))


def _unless_empty(program: str) -> str | None:
    lines = (line.strip() for line in program.splitlines())
    return program if any(line and not line.startswith("#") for line in lines) else None
