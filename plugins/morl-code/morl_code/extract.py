"""Which part of a completion is the program."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Literal, TypeAlias

from morl_code.fences import blocks, is_python_with_fences

Extract: TypeAlias = Literal["auto", "last-block", "first-block", "text"]

_END_OF_THINKING = "</think>"
_FUTURE = re.compile(r"^from __future__ import [^\n]*\n?", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z_]\w*")
_DEFINITION = re.compile(r"^(?:async[ \t]+def|def|class)[ \t]+(\w+)", re.MULTILINE)
_BINDING = re.compile(
    r"^[ \t]*(?:async[ \t]+def|def|class|for)[ \t]+(\w+)|^[ \t]*(\w+)[ \t]*(?::[^=\n]*)?=(?!=)", re.MULTILINE
)
_IMPORT = re.compile(r"^(?:from[ \t]+\S+[ \t]+)?import[ \t]+(.+)$", re.MULTILINE)
_INPUT = re.compile(r"\binput[ \t]*\(|\bstdin\b|\bopen\(0|\bfileinput\b")
_SHOWS = re.compile(r"(?:test|demo|example|usage)s?(?:_\w+)?|run_\w*(?:test|example|demo)\w*|Test\w*|main")
_STUB = re.compile(r"^(?:@|(?:async[ \t]+)?def\b)", re.MULTILINE)


def program_in(
    text: str, extract: Extract = "auto", *, opened_by_prompt: bool = False, wanted: Collection[str] = ()
) -> str | None:
    r"""The program of a completion, or None where it has none.

    Blocks that say they are Python come before those that do not say; blocks of other languages, such as a sample of
    the output, are not looked at.  A last block that does not end goes on to the end of the text.

    Args:
        text: of the completion; only what follows its last `</think>` is looked at.
        extract: the `last-block` or `first-block` between fences, the whole `text`, or, with `auto`, the last block of
            a text that has blocks and the whole of one that has none.  `auto` does not take a block that only uses what
            another one defines for the program, and adds the blocks before it that the program needs.
        opened_by_prompt: the prompt ends with `<think>`, so a completion without `</think>` has no program.
        wanted: names that the tests use.

    >>> program_in("First:\n```python\nx = 1\n```\nBetter:\n```python\nx = 2\n```\n")
    'x = 2\n'
    >>> program_in("```python\ndef f(x): return x\n```\nUse it so:\n```python\nprint(f(1))\n```\n")
    'def f(x): return x\n'
    >>> program_in("    return x + 1")
    '    return x + 1'
    >>> program_in("I cannot.", "last-block") is None
    True
    """
    _, end, answer = text.rpartition(_END_OF_THINKING)
    if opened_by_prompt and not end:
        return None
    answer = answer.removeprefix("\ufeff")
    if extract == "text":
        return _unless_empty(answer)
    found = blocks(answer)
    if extract == "auto" and (not found or is_python_with_fences(answer)):
        return _unless_empty(answer)
    python = [block.code for block in found if block.is_python]
    python = [code for code in python or [block.code for block in found if not block.language] if _unless_empty(code)]
    if not python:
        return None
    if extract == "auto":
        return _with_needs(python, _main(python, wanted))
    return python[0] if extract == "first-block" else python[-1]


def behind(prefix: str, program: str) -> str:
    r"""The program that goes on where `prefix`, the beginning of it that the prompt gave, ends.

    A program that begins with an indented line is the body of the function with which the prefix ends.  Any other is
    whole, and follows what the prefix has before that function: the function itself, without a body, would do nothing
    and be taken for the program's where it lacks it.  What is imported from `__future__` must stand first.

    >>> exec(behind('def one():\n    "1"\n', "    return 1\n"), names := {}); names["one"]()
    1
    >>> again = "from __future__ import annotations\ndef one():\n    return 1\n"
    >>> exec(behind('def one():\n    "1"\n', again), names := {}); names["one"]()
    1
    >>> behind('import math\ndef one():\n    "1"\n', "def eins(): return 1\n")
    'import math\ndef eins(): return 1\n'
    """
    if not _is_body(program):
        prefix = _without_last_function(prefix)
    future = "".join(f"{line.rstrip()}\n" for line in _FUTURE.findall(program))
    return f"{future}{prefix.rstrip()}\n{_FUTURE.sub('', program)}"


def _without_last_function(prefix: str) -> str:
    starts = [match.start() for match in _STUB.finditer(prefix)]
    if not starts:
        return prefix
    *_, last = starts
    # Decorators stand on the lines before.
    while (
        len(starts) > 1
        and prefix[starts[-2]] == "@"
        and prefix[starts[-2] : last].count("\n") == len([start for start in starts if starts[-2] <= start < last])
    ):
        last = starts[-2]
        starts.pop()
    return prefix[:last]


def _is_body(program: str) -> bool:
    """Whether the first line of code is indented."""
    first = next((line for line in program.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    return first[:1].isspace()


def _main(programs: Sequence[str], wanted: Collection[str]) -> int:
    """The last block that is more than a use of those before it."""
    defined = [{*_DEFINITION.findall(code)} for code in programs]
    makes = [
        names | _bound(code) if not _is_body(code) else {*wanted} for names, code in zip(defined, programs, strict=True)
    ]
    asked = [at for at, names in enumerate(makes) if not names.isdisjoint(wanted)]
    if asked:
        return asked[-1]
    first = {name: at for at in reversed(range(len(programs))) for name in defined[at] if not _SHOWS.fullmatch(name)}
    for at in reversed(range(len(programs))):
        known = {word for word in _WORD.findall(programs[at]) if first.get(word, at) < at}
        shows = known and known.isdisjoint(makes[at]) and all(map(_SHOWS.fullmatch, defined[at]))
        if not shows or _INPUT.search(programs[at]):
            return at
    return len(programs) - 1


def _with_needs(programs: Sequence[str], main: int) -> str:
    """A program, after those blocks before it whose functions, classes or imports it uses and does not have."""
    needed = [programs[main]]
    if _is_body(programs[main]):
        return programs[main]
    has = _bound(programs[main]) | _imported(programs[main])
    lacks = {*_WORD.findall(programs[main])} - has
    for code in reversed(programs[:main]):
        if not lacks.isdisjoint({*_DEFINITION.findall(code)} | _imported(code)) and not _INPUT.search(code):
            needed.append(f"{code.rstrip()}\n\n")
            new = _bound(code) | _imported(code)
            has |= new
            lacks |= {word for word in _WORD.findall(code) if word not in has}
            lacks -= new
    return "".join(reversed(needed))


def _bound(code: str) -> set[str]:
    return {name for names in _BINDING.findall(code) for name in names if name}


def _imported(code: str) -> set[str]:
    return {part.split()[-1] for line in _IMPORT.findall(code) for part in line.strip("() ").split(",") if part.split()}


def _unless_empty(program: str) -> str | None:
    lines = (line.strip() for line in program.splitlines())
    return program if any(line and not line.startswith("#") for line in lines) else None
