"""YAML as people write it today.

PyYAML reads YAML 1.1, where `on` and `no` are booleans and `1e-4` is a string.  The first would break the conditions of
a conditioned estimator (`{on: correctness}`), the second every learning rate.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """Safe, with the booleans and floats of YAML 1.2; a key stands once, which PyYAML does not check."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if (first := lines.get((key.tag, key.value))) is not None:
                problem = f"the key {key.value!r} stands twice in one mapping, first in line {first}"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            lines[key.tag, key.value] = key.start_mark.line + 1
        return node


_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOL, _FLOAT)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"^[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))$"
        r"|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


def load(text: str) -> Any:
    """The value of a YAML text.

    >>> load("{on: no, lr: 1e-4, stop: true}")
    {'on': 'no', 'lr': 0.0001, 'stop': True}

    Raises:
        yaml.YAMLError: the text is not YAML, has a key twice in one mapping, holds itself by an alias, or has a number
            or a nesting beyond what Python reads.
    """
    try:
        value = yaml.load(text, _Loader)
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    except ValueError as error:  # of a date that there is none of, or an integer of thousands of digits
        raise yaml.YAMLError(f"a value cannot be read: {error}") from error
    _refuse_circles(value, [], set())
    return value


def _refuse_circles(value: Any, around: list[int], seen: set[int]) -> None:
    """Refuses what an alias put into itself, which has no end."""
    if not isinstance(value, (dict, list)):
        return
    if id(value) in around:
        raise yaml.YAMLError("a mapping or a list holds itself, by an alias within its anchor")
    if id(value) in seen:
        return
    seen.add(id(value))
    around.append(id(value))
    for inner in value.values() if isinstance(value, dict) else value:
        _refuse_circles(inner, around, seen)
    around.pop()
