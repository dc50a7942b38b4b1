"""Fenced blocks of a completion, as Markdown has them and as models write them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import frozen

_FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)")
_LANGUAGE = re.compile(r"[a-z](?:[a-z0-9+#.]*[a-z0-9+#])?")
_PYTHON = re.compile(r"(python|py)[0-9.]*")
_OUTSIDE = re.compile(r"""#.*|(?P<quotes>\"{3}|'{3})|"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?""")
_INSIDE = {quotes: re.compile(rf"\\.|({quotes})") for quotes in ('"""', "'''")}
_PATIENCE = 20  # times all lines, in search of the ends of blocks


@frozen
class Block:
    """A fenced block: its language, "" where it does not say, and its text."""

    language: str
    code: str

    @property
    def is_python(self) -> bool:
        return _PYTHON.fullmatch(self.language) is not None


def blocks(text: str) -> list[Block]:
    r"""The blocks of a text, in their order.

    A block that does not end goes on to the end of the text.  In Python, a fence inside a string in triple quotes is no
    fence, and one that opens another block ends this one.  Time is linear: what a model writes may be anything.

    >>> blocks("~~~py\nx = 1\n~~~\n```text\n1\n```\n```python\ny = 2")
    [Block(language='py', code='x = 1\n'), Block(language='text', code='1\n'), Block(language='python', code='y = 2')]
    """
    lines = text.splitlines(keepends=True)
    fences = [_FENCE.fullmatch(line.rstrip()) for line in lines]
    found = []
    budget = _PATIENCE * len(lines)
    at = 0
    while at < len(lines):
        opening = fences[at]
        at += 1
        if opening is None:
            continue
        named = _LANGUAGE.search(opening["info"].strip().lower())
        language = named[0] if named else ""
        end = None
        if budget > 0 and (not language or _PYTHON.fullmatch(language)):
            end, looked = _end_of_python(lines, fences, at, opening)
            budget -= looked
        if end is None:
            end = next((n for n in range(at, len(lines)) if _closes(fences[n], opening)), len(lines))
        # A fence inside a list is indented as the list is; the code's own indentation is kept.
        found.append(Block(language, "".join(line.removeprefix(opening["indent"]) for line in lines[at:end])))
        at = end + 1 if end < len(lines) and _closes(fences[end], opening) else end
    return found


def is_python_with_fences(text: str) -> bool:
    """Whether every fence stands in a string in triple quotes: such a text is a program by itself.

    >>> is_python_with_fences("def f():\\n    '''\\n    ```\\n    f()\\n    ```\\n    '''\\n")
    True
    """
    quotes, seen = "", False
    for line in text.splitlines():
        if _FENCE.fullmatch(line.rstrip()):
            if not quotes:
                return False
            seen = True
        quotes = _quotes_after(line, quotes)
    return seen and not quotes


def _end_of_python(
    lines: Sequence[str], fences: Sequence[re.Match[str] | None], start: int, opening: re.Match[str]
) -> tuple[int | None, int]:
    """The line of the first fence outside of strings, None where there is none, and how many lines were looked at."""
    quotes = ""
    for at in range(start, len(lines)):
        fence = fences[at]
        if not quotes and fence is not None and (_closes(fence, opening) or fence["info"].strip()):
            return at, at - start + 1
        quotes = _quotes_after(lines[at], quotes)
    return None, len(lines) - start


def _closes(fence: re.Match[str] | None, opening: re.Match[str]) -> bool:
    return fence is not None and not fence["info"].strip() and fence["fence"].startswith(opening["fence"])


def _quotes_after(line: str, quotes: str) -> str:
    """The triple quotes that are open after a line of Python, "" for none."""
    at = 0
    while True:
        match = (_INSIDE[quotes] if quotes else _OUTSIDE).search(line, at)
        if match is None:
            return quotes
        at = match.end()
        if not quotes:
            quotes = match["quotes"] or ""
        elif match[1]:
            quotes = ""
