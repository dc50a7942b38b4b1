"""A value of the wrong type, in one line of our own: what the key takes, and what came."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from attrs import NOTHING, fields_dict, has

from morl.config.keywords import unknown_key
from morl.config.sections import Tree, leaf_at

_PATH = re.compile(r'Parser key "([^"]+)":\s*')
# In the words of several versions of jsonargparse, of which the oldest names the entry of a mapping without its place.
_OF_TYPE = re.compile(r"Expected a|Not of type|Does not validate|not accepted|not expected|Union of no types")
_STRANGER = re.compile(r"(?:Option|Key) '([^']+)' is not (?:accepted|expected)")
_INNER = re.compile(r'(?:Parser key ")?(\w+)"?:\s+(?:Expected|Not of type|Does not)')
_WORDS = {
    "PositiveInt": "a whole number of at least 1",
    "NonNegativeInt": "a whole number of at least 0",
    "PositiveFloat": "a number above 0",
    "NonNegativeFloat": "a number of at least 0",
}


def type_error(error: Exception, declared: Mapping[str, Any], tree: Tree) -> str:
    """What jsonargparse says of a value, in the words of morl; its own words where they say something else.

    Args:
        error: of the parser.
        declared: path of an option -> its type.
        tree: the config.
    """
    text = str(error)
    found = _PATH.search(text)
    path = found[1] if found else ""
    if path not in declared:
        entries = (_entry_error(key, hint, leaf_at(tree, key)) for key, hint in declared.items())
        return next(filter(None, entries), _plain(text))
    hint, value = declared[path], leaf_at(tree, path)
    if of_entry := _entry_error(path, hint, value):
        return of_entry
    if not _OF_TYPE.search(text):
        return _plain(text)
    own = next((kind for kind in _kinds(hint) if isinstance(kind, type) and has(kind)), None)
    if own is not None and isinstance(value, Mapping):
        known = fields_dict(own)
        if stranger := _STRANGER.search(text):
            return str(unknown_key(f"{path}.{stranger[1]}", path, {*known}))
        if inner := [name for name in _INNER.findall(text) if name in known]:
            return _message(f"{path}.{inner[0]}", known[inner[0]].type, value.get(inner[0]))
    return _message(path, hint, value)


def _entry_error(path: str, hint: Any, value: Any) -> str:
    """The first entry that does not fit, where an option takes a mapping from names to mappings of known keys."""
    values = [get_args(kind)[1] for kind in _kinds(hint) if get_origin(kind) in (dict, Mapping)]
    own = next(filter(has, values), None)
    if own is None or not isinstance(value, Mapping):
        return ""
    known = get_type_hints(own)
    for name, entry in value.items():
        where = f"{path}.{name}"
        if not isinstance(entry, Mapping):
            return _message(where, own, entry)
        for key, each in entry.items():
            if key not in known:
                return str(unknown_key(f"{where}.{key}", where, {*known}))
            if not any(_fits(each, kind) for kind in _kinds(known[key])):
                return _message(f"{where}.{key}", known[key], each)
        for key, attribute in fields_dict(own).items():
            if attribute.default is NOTHING and key not in entry:
                return f"missing: {where}.{key}"
    return ""


def _fits(value: Any, kind: Any) -> bool:
    """Whether a plain value is of a plain type; True for types that are not plain."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    plain: dict[Any, tuple[type, ...]] = {str: (str,), int: (int,), float: (int, float)}
    if kind not in plain:
        return kind not in (bool, NoneType) or isinstance(value, kind)
    return isinstance(value, plain[kind]) and not isinstance(value, bool)


def _message(path: str, hint: Any, value: Any) -> str:
    return f"{path} must be {in_words(hint)}; got {value!r}"


def _plain(text: str) -> str:
    """The message without the parser's vocabulary."""
    text = _PATH.sub(r"\1: ", text)
    text = re.sub(r"the following arguments are required: (.*)", r"missing: \1", text)
    return re.sub(r"\s*\n\s*", "\n  ", text)


def in_words(hint: Any) -> str:
    """What a type takes.

    >>> in_words(int | None), in_words(Literal["a", "b"]), in_words(tuple[float, float])
    ('a whole number, or null', 'a or b', 'a list of 2 numbers')
    """
    if isinstance(hint, str):
        return _of_text(hint)
    kinds = _kinds(hint)
    words = list(dict.fromkeys(map(_word, kinds)))
    return ", or ".join(words)


def _of_text(annotation: str) -> str:
    names = {"int": int, "float": float, "bool": bool, "str": str, "None": NoneType, "list[str]": list[str]}
    parts = [part.strip() for part in annotation.split("|")]
    return ", or ".join(_word(names[part]) if part in names else part for part in parts)


def _kinds(hint: Any) -> list[Any]:
    if get_origin(hint) in (Union, UnionType):
        return [kind for each in get_args(hint) for kind in _kinds(each)]
    return [hint]


def _word(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        *first, last = map(str, arguments)
        return f"{', '.join(first)} or {last}" if first else last
    if origin is tuple and arguments and ... not in arguments:
        return f"a list of {len(arguments)} {_plural(arguments[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a mapping"
    if origin is Callable:
        return "a function"
    if origin is not None:
        return f"a list of {_plural(arguments[0])}" if arguments else "a list"
    simple = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "null"}
    simple |= {dict: "a mapping", list: "a list", tuple: "a list"}
    if kind in simple:
        return simple[kind]
    if isinstance(kind, type) and has(kind):
        return f"a mapping of {', '.join(fields_dict(kind))}"
    name = getattr(kind, "__name__", str(kind))
    return _WORDS.get(name, name)


def _plural(kind: Any) -> str:
    words = {int: "whole numbers", float: "numbers", str: "texts"}
    return words.get(kind, "mappings" if get_origin(kind) in (dict, Mapping) else "values")
