"""Whether an answer equals the reference, as far as that can be said without computer algebra."""

from __future__ import annotations

from morl_math.plain import read_in_base, read_number
from morl_math.text import Answer, clean


class NotANumber(ValueError):
    """A reference answer that should be a number and is none."""


def same_number(reference: str, answer: str) -> bool:
    """Exact comparison of two numbers, as in GSM8K; words may follow them, and a calculation may precede the answer.

    Raises:
        NotANumber: the reference is none.

    >>> same_number("1,450,000", "$1450000.00"), same_number("1450000", "1450007"), same_number("7", "3 + 4 = 7 apples")
    (True, False, True)
    """
    expected = read_number(clean(reference).text, any_unit=True)
    if expected is None:
        raise NotANumber(f"the reference answer must be a number; got {reference!r:.200}")
    given = read_number(clean(clean(answer).text.rpartition("=")[2]).text, any_unit=True)
    return given is not None and expected.equals(given)


def quick_verdict(reference: Answer, answer: Answer) -> bool | None:
    """Exact comparison of plain numbers, numbers in a base, and words; None where it takes mathematics."""
    expected, given = read_number(reference.text), read_number(answer.text)
    if expected is not None and (given is not None or not answer.text):
        return given is not None and expected.equals(given)
    in_base = read_in_base(reference.text), read_in_base(answer.text)
    if all(in_base):
        return in_base[0] == in_base[1]
    words = reference.words
    return None if words is None else answer.says(words)
