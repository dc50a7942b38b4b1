"""Whether the texts of two expressions are equal: numbers, words, times, and what else has no outline."""

from __future__ import annotations

import re
from fractions import Fraction

from morl_math.arithmetic import evaluate
from morl_math.base import read_in_base
from morl_math.clock import read_ratio, read_time
from morl_math.protocol import Algebra
from morl_math.quantity import read_expression, read_number
from morl_math.words import is_word, letters, same_letters

_MODULAR = re.compile(r"(.+?) *\\pmod\{(.+)\}")
NUMBER_SETS = re.compile(r"\\mathbb\{[RQZNC]\}")


def same_text(reference: str, answer: str, algebra: Algebra, *, upright: bool) -> bool:
    """Whether two expressions are equal.

    Args:
        reference: cleaned, as is the answer.
        answer: of the completion.
        algebra: for what is no plain number and no word.
        upright: letters are words, for one of the two was set in `\\text{..}`.
    """
    if squeeze(reference) == squeeze(answer):
        return True
    modular = _MODULAR.fullmatch(reference), _MODULAR.fullmatch(answer)
    if modular[0] is not None and modular[1] is not None:
        pairs = zip(modular[0].groups(), modular[1].groups(), strict=True)
        return all(same_text(one, other, algebra, upright=upright) for one, other in pairs)
    verdicts = (
        _same_time(reference, answer),
        _same_in_base(reference, answer),
        _same_words(reference, answer, upright),
    )
    for verdict in (*verdicts, _same_ratio(reference, answer)):
        if verdict is not None:
            return verdict
    expected = read_number(reference) or read_expression(reference)
    given = read_number(answer) or read_expression(answer)
    return expected.equals(given, algebra.same)


def _same_time(reference: str, answer: str) -> bool | None:
    expected, given = read_time(reference), read_time(answer)
    return None if expected is None or given is None else expected.equals(given)


def _same_in_base(reference: str, answer: str) -> bool | None:
    expected, given = read_in_base(reference), read_in_base(answer)
    if expected is not None:
        return expected.equals(given) if given is not None else expected.is_written(answer)
    return given.is_value_of(reference) if given is not None else None


def _same_words(reference: str, answer: str, upright: bool) -> bool | None:
    """Words and letters; numbers in words are numbers."""
    expected, given = read_number(reference), read_number(answer)
    if expected is not None and given is not None:
        return None
    words, said = letters(reference), letters(answer)
    if words is not None and said is not None:
        return same_letters(words, said, upright=upright)
    if words is not None and expected is None and (upright or is_word(words)):
        return False
    if said is not None and given is None and expected is not None:
        return False  # a number is no variable
    return None


def _same_ratio(reference: str, answer: str) -> bool | None:
    ratios = read_ratio(reference), read_ratio(answer)
    if ratios == (None, None):
        return None
    texts = zip((reference, answer), ratios, strict=True)
    first, second = ((evaluate(text),) if ratio is None else ratio for text, ratio in texts)
    return first == second


def is_exact(text: str) -> bool:
    """Whether an expression can be compared without algebra."""
    return any(read(text) is not None for read in (read_number, letters, read_time, read_in_base, read_ratio))


def readable_parts(text: str) -> list[str]:
    """The expressions in a text that algebra has to read."""
    modular = _MODULAR.fullmatch(text)
    if modular is not None:
        return [part for group in modular.groups() for part in readable_parts(group)]
    return [] if is_exact(text) or NUMBER_SETS.fullmatch(text) else [read_expression(text).body]


def is_rounded(value: Fraction, decimal: str) -> bool:
    """Whether a decimal number differs from a value by no more than rounding or cutting its last digit does."""
    number = read_number(decimal)
    if number is None or number.value is None:
        return False
    digits = re.search(r"\.(\d+)", decimal)
    unit = Fraction(1, 10 ** len(digits[1]) if digits else 1)
    return abs(value - number.value) <= unit * Fraction(3, 5 if not digits else 3)


def squeeze(text: str) -> str:
    """Without the spaces that say nothing: those between digits do."""
    return re.sub(r"(?<!\d) | (?!\d)", "", text)
