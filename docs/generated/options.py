"""Options of a class or a function, as tables: key, type, default, meaning."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Union

import attrs
from docstring_parser import parse as parse_docstring

_NAMED = {
    "PositiveInt": "integer >= 1",
    "PositiveFloat": "number > 0",
    "NonNegativeInt": "integer >= 0",
    "NonNegativeFloat": "number >= 0",
    "int": "integer",
    "float": "number",
    "str": "text",
    "bool": "true or false",
    "NoneType": "null",
    "Condition": "condition",
    "LoRA": "mapping, see below",
    "Quantisation": "mapping, see below",
}


def table(heading: str, factory: Any, skip: Sequence[str] = (), level: int = 3) -> Iterator[str]:
    summary = parse_docstring(inspect.getdoc(factory) or "").short_description or ""
    yield from (f"{'#' * level} {heading}", "", summary.partition("; see `RowOptions`")[0].rstrip(".") + ".", "")
    yield from option_rows(factory, [name for name in inspect.signature(factory).parameters if name not in skip])


def option_rows(factory: Callable[..., Any], names: Sequence[str]) -> Iterator[str]:
    if not names:
        yield from ("No options.", "")
        return
    parameters = inspect.signature(factory).parameters
    hints = typing.get_type_hints(factory) if inspect.isclass(factory) else factory.__annotations__
    described = _descriptions(factory)
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for name in names:
        cells = (f"`{name}`", _type(hints[name]), _default(factory, parameters[name]), described[name])
        yield "| " + " | ".join(" ".join(cell.replace("|", r"\|").split()) for cell in cells) + " |"
    yield ""


def plural(kind: str) -> str:
    return kind.capitalize() + ("es" if kind.endswith("s") else "s")


def _descriptions(factory: Callable[..., Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for source in factory.__mro__ if inspect.isclass(factory) else (factory,):
        for parameter in parse_docstring(inspect.getdoc(source) or "").params:
            found.setdefault(parameter.arg_name, parameter.description or "")
    return found


def _type(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(argument) for argument in arguments)
    if origin is collections.abc.Callable:
        return "function"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return f"mapping from {_type(arguments[0])} to {_type(arguments[1])}"
    if origin is tuple and ... not in arguments:
        return f"list of {len(arguments)} {_type(arguments[0])}s"
    if origin is not None:
        return f"list of {_type(arguments[0])}"
    return "anything" if hint is Any else _NAMED.get(hint.__name__, hint.__name__)


def _default(factory: Any, parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return "required"
    if attrs.has(factory):
        made_by = getattr(attrs.fields_dict(factory)[parameter.name].default, "factory", None)
        if made_by is not None:
            return "`{}`" if made_by is dict else "`[]`"
    return f"`{_yaml(parameter.default)}`"


def _yaml(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case tuple() | list():
            return f"[{', '.join(map(_yaml, value))}]"
    return str(value)
