"""What is decided without computer algebra."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morl_math.grading import NotANumber, quick_verdict, same_number
from morl_math.plain import read_number
from morl_math.text import clean


def read(text: str) -> Fraction | None:
    number = read_number(clean(text).text)
    return None if number is None else number.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("007", 7),
        ("+7", 7),
        ("-7", -7),
        ("\u22127", -7),
        ("\u20137", -7),
        ("- 7", -7),
        ("\uff17", 7),
        ("1,450,000", 1450000),
        ("1{,}000", 1000),
        (r"1\,000", 1000),
        (r"1\!000", 1000),
        ("1 000 000", 1000000),
        ("1\u202f000", 1000),
        ("1,000.50", Fraction(2001, 2)),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("5..", 5),
        ("$5", 5),
        ("-$5", -5),
        ("$-5", -5),
        (r"\$5", 5),
        ("5€", 5),
        ("**5**", 5),
        ("`5`", 5),
        ("$5$", 5),
        (r"\(5\)", 5),
        (r"\[5\]", 5),
        ("$$5$$.", 5),
        ("The answer is $5$.", 5),
        ("1/2", Fraction(1, 2)),
        (r"\frac{1}{2}", Fraction(1, 2)),
        (r"-\dfrac12", Fraction(-1, 2)),
        ("\u00bd", Fraction(1, 2)),
        ("2 1/2", Fraction(5, 2)),
        (r"2\frac{1}{2}", Fraction(5, 2)),
        ("-2 1/2", Fraction(-5, 2)),
        ("1e6", 10**6),
        ("1.5E-3", Fraction(3, 2000)),
        ("50%", 50),
        (r"50\%", 50),
        (r"\text{12}", 12),
        (r"5\text{ cm}", 5),
        ("5 apples", 5),
        ("90^\\circ", 90),
        ("90°", 90),
    ],
)
def test_plain_numbers(text: str, value: Fraction | int) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "12,34",
        "1,0000",
        "1,00,000",
        "1 2",
        "1.2.3",
        "--5",
        "-$-5",
        "5x",
        "5 x",
        "2 of 3",
        "5 or 6",
        "1/0",
        "1e9999",
        "\\frac{1}{0}",
        "2^3",
        "(5",
        "5)",
        "1:30",
        "six",
        "1/2/3",
        "5 + 1",
        "0x10",
        "1_000",
    ],
)
def test_what_is_no_plain_number(text: str) -> None:
    assert read(text) is None


@given(st.integers(-(10**40), 10**40))
def test_integers_compare_exactly_however_they_are_written(number: int) -> None:
    for text in (f"{number:,}", f"{number}.00", f"${number}$", f"{number} apples", f"#{number}"[1:]):
        assert same_number(str(number), text)
        assert not same_number(str(number + 1), text)


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_fractions_compare_exactly(above: int, below: int) -> None:
    assert quick_verdict(clean(f"{above}/{below}"), clean(rf"\frac{{{2 * above}}}{{{2 * below}}}")) is True
    assert quick_verdict(clean(f"{above}/{below}"), clean(rf"\frac{{{above}}}{{{below + 1}}}")) is False


@pytest.mark.parametrize(
    ("reference", "answer", "same"),
    [
        ("1450000", "1450007", False),
        ("1450000", "1450000.0000001", False),
        ("0.5", "1/2", True),
        ("1/3", "0.333333", False),
        ("50", "50%", True),
        ("0.5", "50%", True),
        ("50%", "1/2", True),
        ("50", "0.5", False),
        ("50%", "0.5%", False),
        ("16_8", "16_{8}", True),
        ("16_8", "16_9", False),
        ("east", "East", True),
        (r"\text{east}", "east.", True),
        ("east", "seat", False),
        ("east", r"\textbf{seat}", False),
        (r"\text{(B)}", "B", True),
        (r"\text{(B)}", "(C)", False),
        (r"\text{no}", "yes", False),
        ("Monday, Tuesday", r"\text{monday,  Tuesday}", True),
        ("7", "", False),
        ("east", "", False),
    ],
)
def test_exact_verdicts(reference: str, answer: str, same: bool) -> None:
    assert quick_verdict(clean(reference), clean(answer)) is same


@pytest.mark.parametrize(
    ("reference", "answer"),
    [("7", "x = 7"), ("7", "3 + 4"), ("ab", "ba"), ("(1,2)", "(1,2)"), ("(1,2)", ""), ("{", "")],
)
def test_all_else_takes_mathematics(reference: str, answer: str) -> None:
    assert quick_verdict(clean(reference), clean(answer)) is None


@pytest.mark.parametrize(
    ("answer", "same"),
    [
        ("72", True),
        ("72.", True),
        ("$72.00", True),
        ("**72**", True),
        ("72 clips in May", True),
        ("72kg", True),
        ("72 $", True),
        ("48 + 24 = 72", True),
        ("x = $72$ dollars", True),
        ("72 or 73", False),
        ("72, 73", False),
        ("72/1", True),
        ("72k", False),
        ("-72", False),
        ("72.5", False),
        ("seventy-two", False),
        ("", False),
        ("72 = 48 + 24", False),
        ("71 = 72 = 73", False),
    ],
)
def test_numbers_as_completions_write_them(answer: str, same: bool) -> None:
    assert same_number("72", answer) is same


def test_a_reference_that_is_no_number_is_named() -> None:
    with pytest.raises(NotANumber, match="the reference answer must be a number; got 'six'"):
        same_number("six", "6")
