"""From a Python function to the JSON schema that tells a model how to call it."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from morl.errors import ConfigError
from morl.isolation.importing import file_of

_PLAIN = (int, float, str, bool, type(None), Any, list, dict, tuple)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_NUMPY = re.compile(r"^\s*(?:Parameters|Arguments|Args)\s*\n\s*-{3,}\s*$", re.MULTILINE)
_SPHINX = re.compile(r"^\s*:param\b", re.MULTILINE)
_TYPES = "int, float, str, bool, None, Any, Literal[..], and list, tuple, dict[str, ..] and unions of these"


def tool_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """The JSON schema of a function: its name, what it does, and its arguments with type and description.

    It is what `transformers` makes of the function, so that a tokenizer writes it as it writes any: arguments from the
    annotations, descriptions from a docstring in Google's style.  What `transformers` would take for something else
    than it is, is refused.

    Args:
        function: plain, `async`, or a method of an object; every argument is annotated, described, and can be given by
            name.

    Raises:
        ConfigError: names the function and, where it is one, the argument, and says what to do.

    >>> def add(x: int, y: int = 0) -> int:
    ...     '''Adds two numbers.
    ...
    ...     Args:
    ...         x: the first number
    ...         y: the second number
    ...     '''
    ...     return x + y
    >>> tool_schema(add)["function"]["parameters"]["required"]
    ['x']
    """
    from transformers.utils.chat_template_utils import get_json_schema  # takes a second to import

    where = f"the tool {_full_name(function)}"
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        raise ConfigError(f"{where} must be a function or a method; it is {_kind(function)}: wrap it into a function")
    if not _NAME.fullmatch(function.__name__):
        raise ConfigError(f"{where} needs a name that a model can call: write it with def")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError(f"{where} yields, and a call has one result: return a list")
    for problem in _problems(function):
        raise ConfigError(f"{where}: {problem}")
    try:
        found: dict[str, Any] = get_json_schema(function)
    except Exception:  # noqa: BLE001 - annotations are code
        try:
            found = get_json_schema(_without_return(function))
        except Exception as error:
            raise ConfigError(f"{where}: {_hint(function, str(error))}") from error
    return found


def _problems(function: Callable[..., Any]) -> Iterator[str]:
    """What is wrong with the arguments, in words."""
    # Functions of a class have a `self`, which is no argument of a call.
    parameters = [each for each in inspect.signature(function).parameters.values() if each.name != "self"]
    for parameter in parameters:
        name = parameter.name
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            yield f"the argument {stars}{name} has no names of its own that a model could give; name every argument"
        if parameter.kind is parameter.POSITIONAL_ONLY:
            yield f"the argument {name!r} cannot be given by name, as a call of a model gives it; leave out the /"
        if parameter.annotation is parameter.empty:
            yield f"the argument {name!r} has no type; annotate it: {name}: str"
    try:
        hints = get_type_hints(_without_return(function))
    except Exception as error:  # noqa: BLE001 - annotations are code
        yield f"its annotations cannot be read ({type(error).__name__}: {error}); import what they name"
        return
    for parameter in parameters:
        odd = next(_odd(hints[parameter.name]), None)
        if odd is not None:
            yield f"the argument {parameter.name!r} has the type {odd}, which JSON does not have; use {_TYPES}"
    if not (inspect.getdoc(function) or "").strip():
        yield "it has no docstring; say in one what it does, and under `Args:` what every argument is"


def _without_return(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function without the type of what it returns, which a model need not know and JSON may not have."""
    plain: Any = inspect.unwrap(getattr(function, "__func__", function))
    if not inspect.isfunction(plain):
        return function
    bare = types.FunctionType(plain.__code__, plain.__globals__, plain.__name__, plain.__defaults__, plain.__closure__)
    bare.__kwdefaults__, bare.__doc__, bare.__qualname__ = plain.__kwdefaults__, function.__doc__, plain.__qualname__
    bare.__annotations__ = {name: hint for name, hint in plain.__annotations__.items() if name != "return"}
    return bare


def _odd(hint: Any) -> Iterator[str]:
    """The parts of a type that have no counterpart in JSON."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal or isinstance(hint, TypeVar):
        return
    if origin is None:
        if hint not in _PLAIN:
            yield getattr(hint, "__name__", str(hint))
    elif origin is dict and arguments[0] is not str:
        yield f"{hint}: keys of an object are texts"
    elif origin in (list, dict, tuple, Union, types.UnionType):
        for inner in arguments:
            yield from _odd(inner)
    else:
        yield str(hint).removeprefix("typing.")


def _hint(function: Callable[..., Any], error: str) -> str:
    """The error of transformers, and what to do about it."""
    docstring = inspect.getdoc(function) or ""
    if "no description for the argument" not in error:
        return error
    argument = error.rpartition("argument ")[2]
    what = f"its docstring does not describe the argument {argument}; write under `Args:` a line `name: what it is`"
    if _NUMPY.search(docstring):
        return f"{what} (NumPy's style of docstrings is not read)"
    if _SPHINX.search(docstring):
        return f"{what} (Sphinx' style of docstrings is not read)"
    if re.search(rf"^\s*{argument[1:-1]}\s*\(.*\)\s*:", docstring, re.MULTILINE):
        return f"{what}, without a type in parentheses, which the annotation tells"
    return what


def _full_name(function: object) -> str:
    name = getattr(function, "__qualname__", None)
    module = getattr(function, "__module__", None)
    if not name or not module:
        return repr(function)
    file = file_of(module)
    return f"{file}:{name}" if file else f"{module}.{name}"


def _kind(value: object) -> str:
    return "a class" if inspect.isclass(value) else f"of the type {type(value).__name__}"
