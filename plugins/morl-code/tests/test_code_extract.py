"""Which part of a completion is the program, and how it goes on where the prompt ended."""

from __future__ import annotations

import time

import pytest

from morl_code.extract import Extract, behind, program_in

TWO = "First:\n```python\none = 1\n```\nBetter:\n```python\ntwo = 2\n```\nDone."


@pytest.mark.parametrize(
    ("extract", "program"),
    [("auto", "two = 2\n"), ("last-block", "two = 2\n"), ("first-block", "one = 1\n"), ("text", TWO)],
)
def test_each_way_takes_its_part(extract: Extract, program: str) -> None:
    assert program_in(TWO, extract) == program


def test_a_text_without_blocks_is_a_program_unless_blocks_are_asked_for() -> None:
    assert program_in("print(1)") == "print(1)"
    assert program_in("print(1)", "last-block") is None
    assert program_in("print(1)", "first-block") is None


@pytest.mark.parametrize("language", ["python", "Python", "py", "python3", "python title=a.py", ""])
def test_blocks_of_python_and_unmarked_ones_count(language: str) -> None:
    assert program_in(f"```{language}\nx = 1\n```") == "x = 1\n"


def test_samples_of_output_are_no_programs() -> None:
    assert program_in("```python\nprint(3)\n```\nprints\n```\n3\n```\nand\n```text\n4\n```") == "print(3)\n"
    assert program_in("It prints\n```text\n3\n```") is None


def test_a_block_that_does_not_end_is_none() -> None:
    assert program_in("```python\nx = 1\n", "last-block") is None
    assert program_in("```python\nx = 1\n```\n```python\nx = 2", "last-block") == "x = 1\n"


def test_fences_as_markdown_has_them() -> None:
    assert program_in("~~~python\nx = '```'\n~~~") == "x = '```'\n"
    assert program_in("````python\ntext = '''\n```\n'''\n````") == "text = '''\n```\n'''\n"
    assert program_in("1. So:\n   ```python\n   def f():\n       return 1\n   ```") == "def f():\n    return 1\n"


def test_the_indentation_of_a_function_body_is_kept() -> None:
    assert program_in("```python\n    x = 1\n    return x\n```") == "    x = 1\n    return x\n"


def test_thinking_is_no_program() -> None:
    thinking = "Try\n```python\nx = 1\n```\n"
    answer = "```python\nx = 2\n```"
    assert program_in(f"<think>{thinking}</think>{answer}") == "x = 2\n"
    assert program_in(f"{thinking}</think>I give up.", "last-block") is None
    assert program_in(f"<think>{thinking}", opened_by_prompt=True) is None
    assert program_in(f"{thinking}</think>{answer}", opened_by_prompt=True) == "x = 2\n"


@pytest.mark.parametrize("text", ["", " \n", "```python\n```", "```python\n# to do\n\n```", "</think>"])
def test_nothing_is_no_program(text: str) -> None:
    assert program_in(text) is None


@pytest.mark.parametrize(
    "text",
    ["```a\n" * 400_000, "```" + "a" * 1_200_000 + "`", " " * 1_200_000 + "`", "```" + " " * 1_200_000],
    ids=["fences", "ticks", "blanks", "open"],
)
def test_pathological_texts_take_time_in_proportion(text: str) -> None:
    """A fifth of a second of the processor at most, where a search that grows with the square takes minutes."""
    started = time.process_time()
    program_in(text)
    assert time.process_time() - started < 20


PREFIX = 'from math import floor\n\ndef one(x):\n    """One."""\n'


@pytest.mark.parametrize(
    "program",
    [
        "    return floor(x)\n",
        "def one(x):\n    return floor(x)\n",
        "from __future__ import annotations\n\ndef one(x: Later):\n    return floor(x)\n",
    ],
)
def test_a_body_and_a_whole_function_both_go_on(program: str) -> None:
    names: dict[str, object] = {}
    exec(compile(behind(PREFIX, program), "program", "exec"), names)
    assert names["one"](1.5) == 1  # type: ignore[operator]
