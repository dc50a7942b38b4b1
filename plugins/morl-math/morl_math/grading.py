"""The verdict on a pair of texts."""

from __future__ import annotations

import re
from fractions import Fraction

from morl_math.compare import Comparison, FalseStatement
from morl_math.protocol import Algebra, NoAlgebra, Undecided
from morl_math.quantity import read_number
from morl_math.structure import Chain, Expression, Malformed, Shape, expressions, read_shape
from morl_math.text import Answer, clean
from morl_math.texts import is_exact

_SO = r"(?:(?:so|thus|hence|therefore|then),? +)?"
_LEAD = re.compile(
    rf"{_SO}(?:(?:the|my|our|final|correct|total|required|exact) +)*"
    r"(?:answer|result|value|solution|total|sum) *(?:is|are|equals|:|=)+ *:? *"
    rf"|{_SO}(?:it is|it's|there are|there is|we get|we have|i get|that is|this is|is) +"
    r"|(?:approximately|about|roughly|around|nearly|exactly|so|thus|hence|therefore),? +"
    r"|\\(?:therefore|implies|to) *|: *",
    re.IGNORECASE,
)
_PLAIN = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d{1,100})(?:\.\d{1,100})?", re.ASCII)
_LABEL = re.compile(r"[A-Z]\)")


class NotANumber(ValueError):
    """A reference answer that should be a number and is none."""


def tidy(text: str) -> Answer:
    """A cleaned answer without words such as `The answer is` before it."""
    answer = clean(text)
    while (lead := _LEAD.match(answer.text)) and lead.end() < len(answer.text):
        answer = Answer(answer.text[lead.end() :].strip(), answer.upright)
    return Answer(answer.text[0], True) if _LABEL.fullmatch(answer.text) else answer


def same_number(reference: str, answer: str) -> bool:
    """Exact comparison of two numbers, as in GSM8K; units may follow them, and a calculation may precede the answer.

    Raises:
        NotANumber: the reference is none.

    >>> same_number("1,450,000", "$1450000.00"), same_number("1450000", "1450007"), same_number("7", "3 + 4 = 7 apples")
    (True, False, True)
    """
    expected = read_number(tidy(reference).text, variables=False)
    if expected is None:
        raise NotANumber(f"the reference answer must be a number; got {reference!r:.200}")
    sides = [side.strip() for side in re.split(r"=|\\approx", tidy(answer).text)]
    numbers = [read_number(side, variables=False) for side in sides]
    given = numbers[-1]
    if given is None or not expected.equals(given, _never):
        return False
    # What can be computed must be right; `x` and `total cost` are names.
    return all(number is None or number.value == given.value for number in numbers[:-1])


def plain_verdict(reference: str, answer: str) -> bool | None:
    """The verdict on two numbers that are written plainly, as most are; None for all else.

    >>> plain_verdict("1450000", "1,450,000.0"), plain_verdict("7", "x = 7")
    (True, None)
    """
    if not (_PLAIN.fullmatch(reference) and _PLAIN.fullmatch(answer)):
        return None
    return Fraction(reference.replace(",", "")) == Fraction(answer.replace(",", ""))


def quick_verdict(reference: Answer, answer: Answer) -> bool | None:
    """The verdict where it takes no algebra: on numbers, words, times, and lists and tuples of them; else None."""
    try:
        right = is_right(reference, answer, NoAlgebra())
    except Undecided:
        return None
    # An answer is wrong only beside a reference that can be read.
    return right if right or _needs_no_algebra(outline(reference.text)) else None


def is_right(reference: Answer, answer: Answer, algebra: Algebra) -> bool:
    """Whether an answer equals the reference.

    Raises:
        Undecided: by an algebra that decides nothing.
    """
    if reference.text == answer.text:
        return True
    if not answer.text:
        return False
    try:
        given = read_shape(answer.text)
    except Malformed:
        return False
    comparison = Comparison(algebra, reference.upright or answer.upright)
    try:
        return comparison.equal(outline(reference.text), given)
    except FalseStatement:
        return False


def outline(text: str) -> Shape:
    """The outline of a reference; all of it is one expression if it has none."""
    try:
        return read_shape(text)
    except Malformed:
        return Expression(text)


def _needs_no_algebra(shape: Shape) -> bool:
    return not (isinstance(shape, Chain) and not set(shape.relations) <= {"="}) and all(
        map(is_exact, expressions(shape))
    )


def _never(first: str, second: str, by: object) -> bool:
    raise AssertionError("both are numbers")
