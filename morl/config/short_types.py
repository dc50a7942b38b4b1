"""Types and defaults of options in the few words that a line of `--help` has room for."""

from __future__ import annotations

import ast
from typing import Any

from morl.config.values import is_path

_SHORT = {
    "PositiveInt": "int",
    "NonNegativeInt": "int",
    "PositiveFloat": "float",
    "NonNegativeFloat": "float",
    "str": "text",
    "Path": "path",
    "list": "list",
    "tuple": "list",
    "Sequence": "list",
    "Iterable": "list",
    "dict": "mapping",
    "Mapping": "mapping",
    "Options": "mapping",
    "LoRA": "mapping",
    "Quantisation": "mapping",
    "Weights": "name",
    "Callable": "function",
    "Any": "any",
    "object": "any",
}
_FILES = frozenset({"output", "adapter", "chat_template"})
"""Options that are paths, though their names do not say so."""


def short_type(annotation: str, name: str = "") -> str:
    """The type of an option: `int`, `float`, `bool`, `text`, `name`, `path`, `list`, `mapping`, `a|b` of choices.

    That it may be null is left out: the default, or what the option means, says so.

    Args:
        annotation: as written.
        name: of the option, which tells names and paths from other texts.

    >>> short_type("PositiveInt | None"), short_type("Literal['all', 'weights']"), short_type("str | None", "cache_dir")
    ('int', 'all|weights', 'path')
    """
    try:
        parts = [*dict.fromkeys(_types(ast.parse(annotation, mode="eval").body))]
    except SyntaxError:
        return "value"
    parts = [part for part in parts if part != "null"] or ["value"]
    if "text" in parts:
        special = "name" if name in ("name", "schedule") else "path" if is_path(name) or name in _FILES else None
        parts = [special or part if part == "text" else part for part in parts]
    return "any" if "any" in parts else "|".join(parts)


def _types(node: ast.expr) -> list[str]:
    match node:
        case ast.BinOp(op=ast.BitOr()):
            return [*_types(node.left), *_types(node.right)]
        case ast.Subscript(value=outer, slice=inner):
            elements = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            match _last(outer):
                case "Literal":
                    return [str(element.value) for element in elements if isinstance(element, ast.Constant)]
                case "Union" | "Optional":
                    return [part for element in elements for part in _types(element)] + ["null"]
                case name:
                    return [_SHORT.get(name, name)]
        case ast.Constant(value=None):
            return ["null"]
        case ast.Constant(value=str() as text):
            return _types(ast.parse(text, mode="eval").body)
    name = _last(node)
    return [_SHORT.get(name, name if name in ("int", "float", "bool") else "value")]


def _last(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def short_default(expression: str | None) -> str:
    """A default as YAML has it; `required` where there is none, `..` where the text does not tell.

    >>> short_default("None"), short_default("(0.9, 0.999)"), short_default(None), short_default("True")
    ('null', '[0.9, 0.999]', 'required', 'true')
    """
    if expression is None:
        return "required"
    try:
        return as_yaml(ast.literal_eval(expression))
    except (ValueError, SyntaxError):
        return ".."


def as_yaml(value: Any) -> str:
    """A value as it stands in a line of YAML.

    >>> as_yaml({"on": "right"}), as_yaml("a: b"), as_yaml("")
    ('{on: right}', 'a: b', "''")
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case "":
            return "''"
        case float() if value.is_integer() and abs(value) < 1e6:
            return str(int(value))
        case tuple() | list():
            return f"[{', '.join(map(as_yaml, value))}]"
        case dict():
            return f"{{{', '.join(f'{key}: {as_yaml(inner)}' for key, inner in value.items())}}}"
    return str(value)
