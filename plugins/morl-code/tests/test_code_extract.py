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


@pytest.mark.parametrize("extract", ["auto", "last-block"])
def test_a_last_block_that_does_not_end_goes_to_the_end(extract: Extract) -> None:
    assert program_in("```python\nx = 1\n", extract) == "x = 1\n"
    assert program_in("So:\n~~~py\nx = 1", extract) == "x = 1"
    assert program_in("```python\nx = 1\n```\n```python\nx = 2", extract) == "x = 2"
    assert program_in("```python\nx = 1\n```\nDone.\n```python\n", extract) == "x = 1\n"


def test_a_fence_that_opens_a_block_ends_the_one_before() -> None:
    assert program_in("```python\nx = 1\n```python\nx = 2\n```") == "x = 2\n"


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    '''So:\n    ```python\n    f()\n    ```\n    '''\n    return 1\n",
        '"""Use:\n```\nf()\n```\n"""\ndef f(): return 1\n',
        'r"""\n```\n"""\nx = 1\n',
        "x = '''\n```\n''' + '\"\"\"'  # it's\ny = '''\n```\n'''\n",
    ],
)
def test_a_fence_in_a_string_is_no_fence(code: str) -> None:
    assert program_in(f"```python\n{code}```\nDone.") == code
    assert program_in(f"```\n{code}```\nDone.") == code


def test_a_program_by_itself_with_a_fence_in_a_string() -> None:
    program = 'def f():\n    """So:\n\n    ```python\n    f()\n    ```\n    """\n    return 1\n'
    assert program_in(program) == program
    assert program_in(f"Write ''' there.\n```python\n{FUNCTION}```\n") == FUNCTION


def test_a_string_that_does_not_end_hides_no_fence() -> None:
    assert program_in("```python\nx = '''oops\n```\nAnd then.") == "x = '''oops\n"
    assert program_in("```python\nx = '''oops\n```\nBetter:\n```python\nx = 1\n```\n") == "x = 1\n"


FUNCTION = "def f(x):\n    return x\n"


def text(*programs: str) -> str:
    return "\n".join(f"Here:\n```python\n{program}```\n" for program in programs)


@pytest.mark.parametrize(
    "usage",
    [
        "print(f(2))\n",
        "assert f(2) == 2\nassert f(3) == 3\n",
        "from solution import f\nprint(f(1))\n",
        "result = f(3)\nprint(result)\n",
        "def main():\n    print(f(1))\n\nmain()\n",
        "def test_f():\n    assert f(1) == 1\n",
        "import unittest\nclass TestF(unittest.TestCase):\n    def test_one(self): self.assertEqual(f(1), 1)\n",
    ],
)
def test_what_only_uses_the_program_is_not_the_program(usage: str) -> None:
    assert program_in(text(FUNCTION, usage)) == FUNCTION
    assert program_in(text(FUNCTION, usage, usage)) == FUNCTION
    assert program_in(text(FUNCTION, usage), wanted=["f"]) == FUNCTION
    assert program_in(text(FUNCTION, usage), "last-block") == usage


def test_the_body_of_a_function_and_its_use() -> None:
    assert program_in(text("    return x\n", "print(f(2))\n"), wanted=["f"]) == "    return x\n"


def test_a_better_version_takes_the_place_of_the_first() -> None:
    better = FUNCTION.replace("return x", "return x + 0")
    assert program_in(text(FUNCTION, better)) == better
    assert program_in(text(FUNCTION, "print(f(1))\n", better, "print(f(1))\n"), wanted=["f"]) == better


def test_the_parts_of_a_program_are_put_together() -> None:
    helper, user = "def helper(x):\n    return x\n", "def f(x):\n    return helper(x)\n"
    assert program_in(text(helper, user)) == f"{helper}\n{user}"
    assert program_in(text("import math\n", "def f(x):\n    return math.floor(x)\n")) == (
        "import math\n\ndef f(x):\n    return math.floor(x)\n"
    )
    reads = "print(f(int(input())))\n"
    assert program_in(text(FUNCTION, reads)) == f"{FUNCTION}\n{reads}"
    whole = "def f(x):\n    return x\n\nprint(f(int(input())))\n"
    assert program_in(text(reads, whole)) == whole


@pytest.mark.parametrize(
    "info", ["python:main.py", "{.python .numberLines}", " python", "Python3.11", "py3", "python=x"]
)
def test_languages_as_models_write_them(info: str) -> None:
    assert program_in(f"```cpp\nint x;\n```\n```{info}\nx = 1\n```\n```java\nint y;\n```") == "x = 1\n"


def test_a_session_is_no_program() -> None:
    assert program_in("```pycon\n>>> f(1)\n1\n```") is None


def test_a_byte_order_mark_is_no_part_of_the_program() -> None:
    assert program_in("\ufeffx = 1") == "x = 1"


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
    [
        "```a\n" * 150_000,
        "```" + "a" * 1_200_000 + "`",
        " " * 1_200_000 + "`",
        "```" + " " * 1_200_000,
        "```python\n" * 40_000,
        "```python\n'''\n```\n```python\n\"\"\"\n```\n" * 8_000,
        '```python\n"""\n```\n' + "```python\nx\n```\n" * 12_000,
        "```python\n" + '"\\' * 300_000,
        "```python\n" + "'''" * 200_001 + "\n```\n",
        "".join(f"```python\ndef f{n}(): f{n - 1}()\n```\n" for n in range(20_000)),
        "```python\nimport " + "a, " * 300_000,
        "```python\na:" + " " * 600_000,
        "```python\n" + "~~~\n" * 60_000,
    ],
    ids=["fences", "ticks", "blanks", "open", "open-python", "strings", "one-string", "quotes", "triples", "chain",
         "imports", "annotation", "tildes"],
)  # fmt: skip
def test_pathological_texts_take_time_in_proportion(text: str) -> None:
    """A few seconds of the processor at most, where a search that grows with the square takes minutes."""
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


@pytest.mark.parametrize("decorator", ["", "@cache\n", "@cache\n@other\n"])
def test_a_function_of_another_name_leaves_none_of_the_prefix(decorator: str) -> None:
    prefix = f"from functools import cache\n\ndef helper():\n    return 1\n\n{decorator}def one(x):\n    'One.'\n"
    program = behind(prefix, "# Mine:\ndef eins(x):\n    return helper()\n")
    names: dict[str, object] = {}
    exec(compile(program, "program", "exec"), names)
    assert "one" not in names
    assert names["eins"](1) == 1  # type: ignore[operator]
