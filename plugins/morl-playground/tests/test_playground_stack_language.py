"""Laws of the stack language."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morl_playground.stack_language import LARGEST, ProgramError, compiled, run

inputs = st.integers(-100, 100)
# Steps that find one number and leave one, so that they can follow each other in any order.
steps = st.sampled_from([*(f"{n} {sign}" for n in (0, 2, 9) for sign in "+-*"), "dup *", "dup -", "root", "abs"])
programs = st.lists(steps, max_size=6)


def outcome(source: str, x: int) -> int | None:
    """The result, or None for an error."""
    try:
        return run(compiled(source), x)
    except ProgramError:
        return None


def joined(*parts: list[str]) -> str:
    return " ".join(step for part in parts for step in part)


@given(programs, programs, inputs)
def test_one_program_after_the_other_works_on_its_result(first: list[str], second: list[str], x: int) -> None:
    between = outcome(joined(first), x)
    expected = None if between is None else outcome(joined(second), between)
    assert outcome(joined(first, second), x) == expected


@given(programs, st.integers(0, 6), inputs)
def test_a_copy_thrown_away_changes_nothing(program: list[str], place: int, x: int) -> None:
    assert outcome(joined(program[:place], ["dup drop"], program[place:]), x) == outcome(joined(program), x)


@given(programs, st.integers(0, 100), inputs)
def test_what_lies_below_does_not_matter(program: list[str], x: int, below: int) -> None:
    assert outcome(joined([str(x)], program), below) == outcome(joined(program), x)


@given(programs, inputs)
def test_abs_before_root_changes_no_result_and_leaves_no_error(program: list[str], x: int) -> None:
    guarded = ["abs root" if step == "root" else step for step in program]
    plain = outcome(joined(program), x)
    if plain is not None:
        assert outcome(joined(guarded), x) == plain
    assert outcome("abs root", x) is not None


@given(st.integers(0, LARGEST))
def test_the_root_is_the_largest_whose_square_fits(x: int) -> None:
    root = run(["root"], x)
    assert root**2 <= x < (root + 1) ** 2


@given(inputs, st.integers(0, 100))
def test_the_lower_number_is_the_left_one(x: int, n: int) -> None:
    assert [run([str(n), sign], x) for sign in "+-*"] == [x + n, x - n, x * n]


@pytest.mark.parametrize("source", ["5 minus", "-> 5", "-5", "٣", "5-", f"{LARGEST + 1}"])
def test_a_word_that_does_not_exist_is_no_program(source: str) -> None:
    with pytest.raises(ProgramError, match="unknown word"):
        compiled(source)


@pytest.mark.parametrize(
    ("source", "x", "message"),
    [
        ("+", 1, r"'\+' needs 2 numbers on the stack; it holds 1"),
        ("drop dup", 1, "'dup' needs 1 numbers on the stack; it holds 0"),
        ("drop", 1, "nothing is left on the stack"),
        ("5 - root", 4, "root of a negative number, -1"),
        ("dup * " * 200, 9, "makes a number larger than 999999999"),
    ],
)
def test_a_program_that_cannot_go_on_says_why(source: str, x: int, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        run(compiled(source), x)
