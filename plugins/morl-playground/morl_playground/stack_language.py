"""A stack language of integers, small enough for a small policy to write.

A program is words with white space between them.  The stack begins with the input; the result is what lies on top at
the end, whatever is below.

    <number>    pushes it            + - *    replace the two on top, a below b, by a + b, a - b, a * b
    dup         doubles the top      drop     takes the top away
    abs         its absolute value   root     its integer square root; an error if it is negative

No number may be larger than `LARGEST`, so that no program runs for long.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence

LARGEST = 10**9 - 1


class ProgramError(Exception):
    """A program that does not compile or cannot go on."""


def compiled(source: str) -> tuple[str, ...]:
    """The words of a program.

    Raises:
        ProgramError: a word that the language does not have.

    >>> compiled("5 - root")
    ('5', '-', 'root')
    """
    words = tuple(source.split())
    for word in words:
        number = word.isascii() and word.isdigit() and len(word) <= len(str(LARGEST))
        if word not in _WORDS and not number:
            raise ProgramError(f"unknown word {word!r}")
    return words


def run(program: Sequence[str], x: int) -> int:
    """The result of a compiled program for the input `x`.

    Raises:
        ProgramError: too few numbers on the stack, one that is too large, or the root of a negative number.

    >>> run(compiled("5 - abs root 2 *"), 1)
    4
    """
    stack = [x]
    for word in program:
        if word in _WORDS:
            takes, function = _WORDS[word]
            if len(stack) < takes:
                raise ProgramError(f"{word!r} needs {takes} numbers on the stack; it holds {len(stack)}")
            stack[len(stack) - takes :] = function(*stack[len(stack) - takes :])
            if stack and abs(stack[-1]) > LARGEST:
                raise ProgramError(f"{word!r} makes a number larger than {LARGEST}")
        else:
            stack.append(int(word))
    if not stack:
        raise ProgramError("nothing is left on the stack")
    return stack[-1]


def _root(a: int) -> tuple[int]:
    if a < 0:
        raise ProgramError(f"root of a negative number, {a}")
    return (math.isqrt(a),)


def _binary(function: Callable[[int, int], int]) -> tuple[int, Callable[..., tuple[int, ...]]]:
    return 2, lambda a, b: (function(a, b),)


_WORDS: Mapping[str, tuple[int, Callable[..., tuple[int, ...]]]] = {
    "+": _binary(operator.add),
    "-": _binary(operator.sub),
    "*": _binary(operator.mul),
    "dup": (1, lambda a: (a, a)),
    "drop": (1, lambda a: ()),
    "abs": (1, lambda a: (abs(a),)),
    "root": (1, _root),
}
