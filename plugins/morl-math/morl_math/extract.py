"""Where the final answer of a text stands.

A grader that is shown a whole completion finds some number in the reasoning that fits; what is compared must be the
answer and nothing else.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

Mode: TypeAlias = Literal["auto", "number", "boxed", "answer-tag"]

_BOXES = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_TOKEN = re.compile(r"[^\s$]+")


def final_answer(text: str, mode: Mode = "auto", *, opened_by_prompt: bool = False) -> str | None:
    """The final answer of a completion, or None where it gives none.

    What stands before the last `</think>` is no answer, nor is a thought that never ends.  Of several answers of one
    kind the last one counts.

    Args:
        text: the completion.
        mode: `number`: what follows the last `####`; `boxed`: the content of the last `\\boxed{..}`; `answer-tag`: of
            the last `<answer>..</answer>`, and of a `\\boxed` in it if there is one; `auto`: the first of answer-tag,
            boxed and number that is there.
        opened_by_prompt: the prompt ends with `<think>`, so that a completion without `</think>` is all thought.

    >>> final_answer("<think>\\\\boxed{3}, or</think> It is \\\\boxed{\\\\frac{1}{2}}.")
    '\\\\frac{1}{2}'
    >>> final_answer("So 3 + 4 = 7.") is None
    True
    """
    _, closed, said = text.rpartition("</think>")
    if not closed and opened_by_prompt:
        return None
    said = said.partition("<think>")[0]
    readers = {"answer-tag": _tagged, "boxed": _boxed, "number": _after_hashes}
    for reader in readers.values() if mode == "auto" else [readers[mode]]:
        if (answer := reader(said)) is not None:
            return answer.strip() or None
    return None


def reference_answer(text: str) -> str:
    """The answer within a reference: where it is marked, else all of it.

    >>> reference_answer("48 / 2 = 24, 48 + 24 = 72\\n#### 72"), reference_answer("72")
    ('72', '72')
    """
    marked = marked_answer(text)
    return (text if marked is None else marked).strip()


def marked_answer(text: str) -> str | None:
    """What follows the last `####` of a solution, else the content of its last `\\boxed`, else None."""
    answer = _after_hashes(text)
    return _boxed(text) if answer is None else answer


def _tagged(text: str) -> str | None:
    before, closed, _ = text.rpartition("</answer>")
    _, opened, inside = before.rpartition("<answer>")
    if not closed or not opened:
        return None
    boxed = _boxed(inside)
    return inside if boxed is None else boxed


def _boxed(text: str) -> str | None:
    """Content of the last box; None also where its braces never close, as in a completion that was cut off."""
    last = None
    for last in _BOXES.finditer(text):  # noqa: B007 - the last one is wanted
        pass
    if last is None:
        return None
    start = last.end()
    if not text.startswith("{", start):  # \boxed 5, as TeX allows it
        token = _TOKEN.match(text, start)
        return token[0] if token else None
    depth = 0
    escaped = False
    for position in range(start, len(text)):
        character = text[position]
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character in "{}":
            depth += 1 if character == "{" else -1
            if depth == 0:
                return text[start + 1 : position]
    return None


def _after_hashes(text: str) -> str | None:
    """The line that follows the last `####`."""
    _, hashes, rest = text.rpartition("####")
    lines = rest.strip().splitlines()
    return (lines[0] if lines else "") if hashes else None
