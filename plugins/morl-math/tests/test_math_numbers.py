"""Numbers, and arithmetic with numbers, as answers write them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morl_math.arithmetic import evaluate
from morl_math.grading import tidy
from morl_math.quantity import read_number
from morl_math.text import clean


def read(text: str) -> Fraction | None:
    number = read_number(tidy(text).text)
    return None if number is None or number.unit.bare else number.value


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
        ("six", 6),
        ("two hundred and five", 205),
        ("12 (twelve)", 12),
        ("\u0663", 3),
        ("\u20145", -5),
        ("2 apples per day", 2),
        ("1.2 x 10^5", 120000),
        ("6.02e23", 602 * 10**21),
        ("3.1\u00d710\u207b\u00b2", Fraction(31, 1000)),
        (r"0.\overline{3}", Fraction(1, 3)),
        ("0.1666...", Fraction(1, 6)),
        ("0.(27)", Fraction(3, 11)),
        (r"\binom{5}{2}", 10),
        ("5!", 120),
        ("2(3)", 6),
        ("-2^2", -4),
        ("2^3", 8),
        ("5 + 1", 6),
        ("1/2/3", Fraction(1, 6)),
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
        "1:30",
        "0x10",
        "1_000",
        "5 is wrong",
        "5 squared",
        "5 halves",
        "5 not ten",
        "5 percent less",
        "5 million and one",
        "5 a",
        "12 (eleven)",
        "two three",
        "5!!",
        "+-5",
        "0^0",
        "1/2(3)",
        "3.14159...",
        "4^{1/2}",
        "9^{9^{9}}",
        "100000!",
        "2^{99999}",
        r"\binom{10^9}{5}",
        "(" * 100 + "1" + ")" * 100,
    ],
)
def test_what_is_no_plain_number(text: str) -> None:
    assert read(text) is None


def test_scale_words_multiply_and_units_convert() -> None:
    def equal(first: str, second: str) -> bool:
        one, other = read_number(clean(first).text), read_number(clean(second).text)
        assert one is not None
        assert other is not None
        return one.equals(other, lambda *_: False)

    assert equal("5 million", "5,000,000")
    assert equal("2 dozen eggs", "24")
    assert not equal("5 million", "5")
    assert equal("2 hours", "120 minutes")
    assert equal("16\\text{ cm}^2", "16")
    assert not equal("16\\text{ cm}^2", "16\\text{ cm}")
    assert not equal("20 dollars", "20 cents")
    assert equal("$20", "2000 cents")
    assert not equal("8 kg", "8 boxes")
    assert not equal("5", "5m")


@given(st.fractions(), st.fractions())
def test_arithmetic_is_exact(first: Fraction, second: Fraction) -> None:
    one, other = (rf"\frac{{{value.numerator}}}{{{value.denominator}}}" for value in (first, second))
    assert evaluate(f"({one})+({other})") == first + second
    assert evaluate(f"({one})-({other})") == first - second
    assert evaluate(rf"({one})\cdot({other})") == first * second
    assert evaluate(f"({one})/({other})") == (first / second if second else None)


@given(st.text(alphabet="0123456789+-*/^!(){} .,e\\frac", max_size=60))
def test_reading_a_number_never_fails(text: str) -> None:
    value = evaluate(text)
    assert value is None or isinstance(value, Fraction)
