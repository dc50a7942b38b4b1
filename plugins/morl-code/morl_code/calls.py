"""Tests that call a function, as contest data has them: JSON arguments, JSON results."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from morl.errors import DataError

_SETUP = """\
try:
    {function}
except NameError:
    {function} = Solution().{function}

def _as_json(value):
    if isinstance(value, (list, tuple)):
        return [_as_json(each) for each in value]
    if isinstance(value, dict):
        return {{key: _as_json(each) for key, each in value.items()}}
    return value
"""
"""Contest sites ask for a method of a class `Solution`; JSON has no tuples."""

_CLOSE = """
def _is_close(one, other):
    if type(one) is list and type(other) is list:
        return len(one) == len(other) and all(map(_is_close, one, other))
    if type(one) is dict and type(other) is dict:
        return one.keys() == other.keys() and all(_is_close(one[key], other[key]) for key in one)
    if isinstance(other, float) and isinstance(one, (int, float)):
        return abs(one - other) <= {tolerance!r} * max(1.0, abs(one), abs(other))
    return one == other
"""


def call_cases(
    function: str, inputs: Sequence[Any], outputs: Sequence[Any], where: str, tolerance: float = 0.0
) -> tuple[str, list[dict[str, str]]]:
    """What runs after the program and before the cases, and the cases of the column `tests`.

    An input is the list of arguments, or, in the layout of LiveCodeBench, a text with the JSON of one argument per
    line; its output is then JSON, too.  APPS and TACO put some results into a list of one: there, both the list and
    what is in it are right.  JSON makes texts of the numbers that are keys of an object; they become numbers again.
    Floating-point numbers of a result may differ by `tolerance`, absolutely or relatively.

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
            right = [_literal(each) for each in ([result[0], result] if wrapped else [result])]
            close = tolerance > 0 and any(isinstance(each, float) for each in _flat(result))
        except (ValueError, TypeError) as error:
            raise DataError(f"{where}, test {number}: {error}") from error
        if close:
            condition = " or ".join(f"_is_close(_result, {each})" for each in right)
            cases.append({"code": f"_result = {call}\nassert {condition}"})
        else:
            condition = f"in ({right[0]}, {right[1]})" if wrapped else f"== {right[0]}"
            cases.append({"code": f"assert {call} {condition}"})
    setup = _SETUP + (_CLOSE if any("_is_close" in case["code"] for case in cases) else "")
    return setup.format(function=function, tolerance=tolerance), cases


def _flat(value: Any) -> Iterator[Any]:
    """What a JSON value is made of."""
    if isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _flat(each)
    else:
        yield value


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
