"""Tests that call a function, as contest data has them: JSON arguments, JSON results."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from morl.errors import DataError

_SETUP = """\
try:
    {function}
except NameError:
    {function} = Solution().{function}

def _as_json(value):
    if type(value) in (list, tuple):
        return [_as_json(each) for each in value]
    if type(value) is dict:
        return {{key: _as_json(each) for key, each in value.items()}}
    return value
"""
"""Contest sites ask for a method of a class `Solution`; JSON has no tuples."""


def call_cases(
    function: str, inputs: Sequence[Any], outputs: Sequence[Any], where: str
) -> tuple[str, list[dict[str, str]]]:
    """What runs after the program and before the cases, and the cases of the column `tests`.

    An input is the list of arguments, or, in the layout of LiveCodeBench, a text with the JSON of one argument per
    line; its output is then JSON, too.  APPS and TACO put some results into a list of one: there, both the list and
    what is in it are right.  JSON makes texts of the numbers that are keys of an object; they become numbers again.

    Raises:
        DataError: a function name, arguments or a result that Python could not read back.

    >>> call_cases("add", [[1, 2]], [[3]], "row 0")[1]
    [{'code': 'assert _as_json(add(1, 2)) in (3, [3])'}]
    """
    if not function.isidentifier():
        raise DataError(f"{where}: fn_name must be the name of a function; got {function!r:.80}")
    lines = all(isinstance(given, str) for given in inputs)
    cases = []
    for number, (given, expected) in enumerate(zip(inputs, outputs, strict=True)):
        try:
            arguments = [json.loads(line) for line in given.splitlines()] if lines else given
            result = json.loads(expected) if lines else expected
            if not isinstance(arguments, list):
                raise ValueError(f"arguments must be a list; got {arguments!r:.80}")
            call = f"_as_json({function}({', '.join(map(_literal, arguments))}))"
            wrapped = not lines and isinstance(result, list) and len(result) == 1
            right = f"in ({_literal(result[0])}, {_literal(result)})" if wrapped else f"== {_literal(result)}"
        except (ValueError, TypeError) as error:
            raise DataError(f"{where}, test {number}: {error}") from error
        cases.append({"code": f"assert {call} {right}"})
    return _SETUP.format(function=function), cases


def _literal(value: Any) -> str:
    """A JSON value as Python writes it."""
    match value:
        case dict():
            numbers = bool(value) and all(_is_integer(key) for key in value)
            items = (f"{int(key) if numbers else key!r}: {_literal(each)}" for key, each in value.items())
            return f"{{{', '.join(items)}}}"
        case list():
            return f"[{', '.join(map(_literal, value))}]"
        case float() if not math.isfinite(value):
            raise ValueError(f"{value} is no JSON")
    return repr(value)


def _is_integer(key: str) -> bool:
    digits = key.removeprefix("-")
    return digits.isascii() and digits.isdigit()
