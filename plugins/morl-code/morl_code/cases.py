"""The column `tests`: the cases of one row, in a form that any file of rows can hold.

A list with one mapping per case, of one of two forms:

    {"code": "assert add(1, 2) == 3"}           statements that run after the program and raise where it is wrong
    {"stdin": "1 2\\n", "stdout": "3\\n"}         the program reads the one and has to print the other

Keys whose value is null do not count: columnar files give every case the union of all keys.

What cases of code have in common stands in further columns, all of which a row may lack: `setup` is code that runs
before each of them, `prefix` the beginning of the program that the prompt gave, and `names` lists what they may look up
in the program, which is everything where it is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from morl.errors import DataError
from morl_code.judge import FunctionTest, StdioTest

_FORMS = (frozenset({"code"}), frozenset({"stdin", "stdout"}))


def read_cases(value: Any, column: str = "tests") -> tuple[FunctionTest | StdioTest, ...]:
    """The cases of a row.

    Args:
        value: of the column.
        column: its name, for errors.

    Raises:
        DataError: no case at all, or one of another form; a row without cases cannot be scored.

    >>> read_cases([{"code": "assert add(1, 2) == 3"}])
    (FunctionTest(code='assert add(1, 2) == 3'),)
    """
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise DataError(
            f"column {column!r} must be a list of at least one case, {{'code': ..}} or {{'stdin': .., 'stdout': ..}};"
            f" got {value!r:.80}"
        )
    return tuple(_case(case, f"column {column!r}, case {number}") for number, case in enumerate(value))


def _case(case: Any, where: str) -> FunctionTest | StdioTest:
    given = {key: text for key, text in case.items() if text is not None} if isinstance(case, Mapping) else {}
    if given.keys() not in _FORMS or not all(isinstance(text, str) for text in given.values()):
        raise DataError(
            f"{where} must be {{'code': text}} or {{'stdin': text, 'stdout': text}}, and nothing else; got {case!r:.80}"
        )
    return FunctionTest(given["code"]) if "code" in given else StdioTest(given["stdin"], given["stdout"])
