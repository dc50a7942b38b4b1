"""Whether calls are the expected ones, by BFCL's rules for calls that are not carried out ("AST" categories).

The rules, as BFCL has them:

- A call has the function's name, its required parameters, no parameter that documentation or answer do not know, and
  leaves out only what the answer marks as optional (`""` among the allowed values).
- A value has the type of the documentation, exactly: `True` is no integer; but an integer passes for a float, and a
  tuple for a list where a tuple is documented.  Items of a list are looked at one level deep.
- Where the allowed values are of another type than the documented one, the answer expects a variable; the value then
  equals one of them, as it is.
- Texts are equal up to case, quotes, and the characters ` ,./-_*^`.
- In parallel categories the order of calls does not matter: each expected call takes the first one that fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from morl.errors import DataError
from morl_bfcl.calls import Call

Doc: TypeAlias = Mapping[str, Any]
Answer: TypeAlias = Mapping[str, Mapping[str, Sequence[Any]]]
"""`{name: {parameter: [allowed, ..]}}`, of one call."""

_TYPES: Mapping[str, type[Any]] = {
    "string": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
    "any": str,
}
_SAME = str.maketrans("'", '"', " ,./-_*^")


def calls_fit(category: str, functions: Sequence[Doc], calls: Sequence[Call], answers: Sequence[Answer]) -> bool:
    """Whether the calls are those of the reference answer.

    Args:
        category: decides, by its name, which of the functions is expected, and whether order matters.
        functions: documentation of all functions that could be called.
        calls: of the reply.
        answers: the expected calls.

    Raises:
        DataError: documentation that lacks an expected function, or has a type that is not BFCL's.
    """
    if "parallel" not in category:
        doc = _doc(functions, answers[0]) if "multiple" in category else functions[0]
        wanted = len(answers) if "multiple" in category else 1
        return len(calls) == wanted and call_fits(doc, calls[0], answers[0])
    if len(calls) != len(answers):
        return False
    left = list(calls)
    for answer in answers:
        doc = _doc(functions, answer)
        place = next((place for place, call in enumerate(left) if call_fits(doc, call, answer)), None)
        if place is None:
            return False
        del left[place]
    return True


def call_fits(doc: Doc, call: Call, answer: Answer) -> bool:
    """Whether a call is an expected one."""
    allowed = next(iter(answer.values()))
    known, given = doc["parameters"]["properties"], call.arguments
    if call.name != doc["name"] or any(name not in given for name in doc["parameters"]["required"]):
        return False
    if any(name not in known or name not in allowed for name in given):
        return False
    if any(name not in given and "" not in values for name, values in allowed.items()):
        return False
    return all(_value_fits(value, known[name], allowed[name]) for name, value in given.items())


def _doc(functions: Sequence[Doc], answer: Answer) -> Doc:
    name = next(iter(answer))
    found = next((doc for doc in functions if doc["name"] == name), None)
    if found is None:
        raise DataError(f"the reference answer calls {name!r}, which is not among the functions of the prompt")
    return found


def _value_fits(value: Any, doc: Doc, allowed: Sequence[Any]) -> bool:
    outer = _type(doc["type"])
    inner = _type(doc["items"]["type"]) if doc["type"] in ("array", "tuple") else None
    if doc["type"] == "tuple" and type(value) is tuple:
        value = list(value)
    if doc["type"] == "float" and type(value) is int:
        value = _as_float(value)
    expected = _first_type(allowed)
    if type(value) is outer:
        if inner is not None and not any(_items_fit(value, each, inner) for each in allowed):
            return False
        is_variable = expected not in (None, outer)
    elif type(value) is expected:
        is_variable = True
    else:
        return False
    if is_variable:
        return value in allowed
    if outer is dict:
        return any(_same_mapping(value, each) for each in allowed if isinstance(each, dict))
    if outer is list and inner is dict:
        return any(_same_mappings(value, each) for each in allowed)
    if outer is str:
        return _plain(value) in [_plain(each) for each in allowed if isinstance(each, str)]
    if outer is list:
        return [_plain(item) for item in value] in [_plain_items(each) for each in allowed]
    return value in allowed


def _as_float(value: int) -> float | int:
    try:
        return float(value)
    except OverflowError:  # stays what it is, and is then of the wrong type
        return value


def _type(name: str) -> type[Any]:
    if name not in _TYPES:
        raise DataError(f"BFCL's Python categories have no type {name!r}; expected one of {', '.join(_TYPES)}")
    return _TYPES[name]


def _first_type(allowed: Sequence[Any]) -> type[Any] | None:
    """The type of the allowed values; None where there is nothing but the mark of an optional one."""
    return next((type(each) for each in allowed if each != ""), None)


def _items_fit(value: Sequence[Any], allowed: Any, inner: type[Any]) -> bool:
    return type(allowed) is not list or all(type(item) in (inner, _first_type(allowed)) for item in value)


def _same_mapping(value: Mapping[Any, Any], allowed: Mapping[str, Any]) -> bool:
    """Whether each key is expected and has one of its values, and nothing is left out that is not optional."""
    if any(key not in allowed or _plain(item) not in _plain_items(allowed[key]) for key, item in value.items()):
        return False
    return all(key in value or (isinstance(items, list | str) and "" in items) for key, items in allowed.items())


def _same_mappings(value: Sequence[Any], allowed: Sequence[Any]) -> bool:
    pairs = zip(value, allowed, strict=False)
    return len(value) == len(allowed) and all(
        isinstance(item, dict) and isinstance(each, dict) and _same_mapping(item, each) for item, each in pairs
    )


def _plain_items(values: Any) -> list[Any]:
    """The items as they are compared; those of a text are its letters, as for BFCL, where one stands for a list."""
    return [_plain(each) for each in values] if isinstance(values, list | str) else []


def _plain(value: Any) -> Any:
    return value.translate(_SAME).lower() if isinstance(value, str) else value
