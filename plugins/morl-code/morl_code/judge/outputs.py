"""When two outputs of programs are the same."""

from __future__ import annotations

import math
import re

TOLERANCE = 1e-6
"""By how much a floating-point number of an output may differ, absolutely or relatively: what contests permit."""


def same_output(actual: str, expected: str, tolerance: float = TOLERANCE) -> bool:
    r"""Whether two outputs are equal, white space at line ends and empty lines before and after aside.

    Where `expected` has a floating-point number, one with a point or an exponent, any number that differs by no more
    than `tolerance`, absolutely or relatively, is equal.  Whole numbers compare exactly.

    >>> same_output("1 2 \r\n3\n\n", "1 2\n3"), same_output("\n1", "1")
    (True, True)
    >>> same_output("1  2", "1 2"), same_output("1\n\n2", "1\n2"), same_output(" 1", "1")
    (False, False, False)
    >>> same_output("0.3333333\n", "0.33333333333"), same_output("0.3333333", "0.33333333333", tolerance=0)
    (True, False)
    >>> same_output("1450007", "1450000"), same_output("2", "2.0"), same_output("2.0", "2")
    (False, True, False)
    """
    actual_lines, expected_lines = _lines(actual), _lines(expected)
    if actual_lines == expected_lines:
        return True
    if tolerance == 0 or len(actual_lines) != len(expected_lines):
        return False
    return all(
        ours == theirs or _close_lines(ours, theirs, tolerance)
        for ours, theirs in zip(actual_lines, expected_lines, strict=True)
    )


_SPACE = re.compile(r"(\s+)")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def _close_lines(actual: str, expected: str, tolerance: float) -> bool:
    ours, theirs = _SPACE.split(actual), _SPACE.split(expected)
    return len(ours) == len(theirs) and all(
        one == other or _close_words(one, other, tolerance) for one, other in zip(ours, theirs, strict=True)
    )


def _close_words(actual: str, expected: str, tolerance: float) -> bool:
    one, other = _NUMBER.fullmatch(actual), _NUMBER.fullmatch(expected)
    if one is None or other is None or expected.lstrip("+-").isdigit():
        return False
    value = float(expected)
    return math.isfinite(value) and math.isclose(float(actual), value, rel_tol=tolerance, abs_tol=tolerance)


def _lines(text: str) -> list[str]:
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n").split("\n")
