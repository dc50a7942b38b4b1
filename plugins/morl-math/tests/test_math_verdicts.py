"""What is decided without computer algebra."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morl_math.grading import NotANumber, quick_verdict, same_number, tidy


@given(st.integers(-(10**40), 10**40))
def test_integers_compare_exactly_however_they_are_written(number: int) -> None:
    for text in (f"{number:,}", f"{number}.00", f"${number}$", f"{number} apples", f"#{number}"[1:]):
        assert same_number(str(number), text)
        assert not same_number(str(number + 1), text)


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_fractions_compare_exactly(above: int, below: int) -> None:
    assert quick_verdict(tidy(f"{above}/{below}"), tidy(rf"\frac{{{2 * above}}}{{{2 * below}}}")) is True
    assert quick_verdict(tidy(f"{above}/{below}"), tidy(rf"\frac{{{above}}}{{{below + 1}}}")) is False


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
        ("cat", "act", False),
        ("abc", "cba", True),
        ("C", "c", False),
        ("twelve", "12", True),
        ("8:30", "8:30 a.m.", True),
        ("8:30", "4:15", False),
        ("9:16", "9/16", True),
        ("1011_2", "1011", True),
        ("12", "12_{13}", False),
        ("(1,2)", "(1, 2)", True),
        ("(1,2)", "(2,1)", False),
        ("(1,2)", "[1,2]", False),
        ("(1{,}000,2)", "(1000,2)", True),
        ("1,2", "2 and 1", True),
        (r"\{1,2\}", r"\{2,1,1\}", True),
        ("x = 5", "5", True),
        ("5", "6 = 5", False),
        ("5", "2 + 3 = 5", True),
        ("5", "5 or 6", False),
        ("5", "5, 5", False),
        ("7", "= 7", True),
        ("7", r"\ge 7", False),
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}", False),
        ("10^{-20}", "10^{-21}", False),
        ("east", "", False),
    ],
)
def test_exact_verdicts(reference: str, answer: str, same: bool) -> None:
    assert quick_verdict(tidy(reference), tidy(answer)) is same


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("x+1", "1+x"),
        ("x+1", ""),
        ("{", ""),
        (r"\sqrt{2}", "1.41"),
        ("(1,x+1)", "(1,1+x)"),
        ("x>3", r"(3,\infty)"),
        ("1 2", "3"),
        ("5", "not $5$"),
    ],
)
def test_all_else_takes_mathematics(reference: str, answer: str) -> None:
    assert quick_verdict(tidy(reference), tidy(answer)) is None


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
        ("72 not ten", False),
        ("72 million", False),
        ("72 squared", False),
        ("70 + 1 = 72", False),
        ("71 = 72", False),
        ("total cost = 72", True),
        ("72 m", True),
        ("-72", False),
        ("72.5", False),
        ("seventy-two", True),
        ("", False),
        ("72 = 48 + 24", True),
        ("71 = 72 = 73", False),
    ],
)
def test_numbers_as_completions_write_them(answer: str, same: bool) -> None:
    assert same_number("72", answer) is same


def test_a_reference_that_is_no_number_is_named() -> None:
    with pytest.raises(NotANumber, match="the reference answer must be a number; got 'many'"):
        same_number("many", "6")
