"""Answers in words: numbers, names, yes and no, the letters of choices."""

from __future__ import annotations

import re
from fractions import Fraction

_SMALL = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_LETTERS = re.compile(r"[^\W\d_](?:[^\W\d_]|[ .'’&-])*")
_SHORT = frozenset(
    [
        "no",
        "on",
        "or",
        "of",
        "to",
        "so",
        "go",
        "do",
        "us",
        "up",
        "if",
        "is",
        "it",
        "at",
        "am",
        "as",
        "an",
        "we",
        "he",
        "me",
        "my",
        "by",
        "be",
        "in",
        "ok",
        "hi",
        "ox",
        "ax",
        "odd",
    ]
)
"""Words of two letters, which would be read as products."""
_FAMILIES = ("abcd", "fgh", "ijk", "klmn", "pqrs", "rst", "uvw", "uvwxyz")
"""Letters that stand for variables together; as many of others in a row are a word."""


def number_in_words(text: str) -> Fraction | None:
    """`seventy-two` and `two hundred and five thousand`; None for what is no number in words.

    >>> number_in_words("Seventy-two"), number_in_words("two hundred and five thousand"), number_in_words("two three")
    (Fraction(72, 1), Fraction(205000, 1), None)
    """
    words = text.casefold().replace("-", " ").split()
    negative = words[:1] in (["minus"], ["negative"])
    words = words[negative:]
    if words[:1] in (["a"], ["an"]) and len(words) > 1:
        words[0] = "one"
    total, group, lowest, joined = 0, 0, 10**15, False
    below = 1000  # what the next word may add to its group must be smaller
    for place, word in enumerate(words):
        if word == "and":
            if joined or place in (0, len(words) - 1) or words[place - 1] not in ("hundred", *_LARGE):
                return None
            joined = True
            continue
        joined = False
        if (
            word in _SMALL
            and below > _SMALL[word]
            and (below >= 10 or _SMALL[word] < 10)
            and (word != "zero" or len(words) == 1)
        ):
            group, below = group + _SMALL[word], 0
        elif word in _TENS and below >= 100:
            group, below = group + _TENS[word], 10
        elif word == "hundred" and 0 < group < 10 and below == 0:
            group, below = 100 * group, 100
        elif word in _LARGE and group and _LARGE[word] < lowest:
            lowest = _LARGE[word]
            total, group, below = total + group * lowest, 0, 1000
        else:
            return None
    return Fraction(-(total + group) if negative else total + group) if words else None


def letters(text: str) -> str | None:
    """The letters and spaces that a text consists of, without the brackets of a choice; None if it has others."""
    text = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).strip()
    if len(text) > 2 and text[0] == "(" and text[-1] == ")":
        text = text[1:-1]
    elif len(text) == 2 and text[1] == ")":
        text = text[0]
    text = " ".join(text.split())
    if not _LETTERS.fullmatch(text) or (re.search("[-'.’&]", text) and not is_word(text)):  # a-b is a difference
        return None
    return text.rstrip(".")


def is_word(text: str) -> bool:
    """Whether letters that are not set upright are words all the same, and no product of variables.

    Three letters and more in a row are a word, unless each occurs once and all are of those that stand for variables
    together, such as `abc` and `xyz`.  math-verify takes all of them for products, and so `cat` for `act`.
    """
    return any(
        len(word) > 2 and (len(set(word)) < len(word) or not any(set(word) <= set(family) for family in _FAMILIES))
        for word in re.split(r"[ .'&-]", text)
    ) or any(word.casefold() in _SHORT for word in text.split())


def same_letters(reference: str, answer: str, *, upright: bool) -> bool:
    """Whether two texts of letters are equal: words without regard to case, products in any order."""
    if len(reference) == 1 or len(answer) == 1:
        return reference == answer
    if upright or is_word(reference) or is_word(answer):
        return _plain(reference) == _plain(answer)
    return sorted(reference.replace(" ", "")) == sorted(answer.replace(" ", ""))


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[-.'’&]", " ", text.casefold()).split())
