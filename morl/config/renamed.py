"""Keys that have had another name: configs and run folders that were written with it still work."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from morl.config.sections import Tree
from morl.errors import ConfigError

RENAMED = {
    "prompts.max_tokens": "prompts.max_prompt_tokens",
    "evaluation.prompts.max_tokens": "evaluation.prompts.max_prompt_tokens",
}
"""Former path -> present path, in the same section."""


def present_name(path: str) -> str:
    """The path as it is written today; a former one is answered with a warning."""
    if path not in RENAMED:
        return path
    warnings.warn(f"the key {path} is now called {RENAMED[path]}", FutureWarning, stacklevel=3)
    return RENAMED[path]


def with_present_names(tree: Tree) -> Tree:
    """The config with former keys under their present names.

    Raises:
        ConfigError: a key that stands under both names.
    """
    for former in RENAMED:
        *parents, last = former.split(".")
        tree = _renamed(tree, parents, last, former)
    return tree


def _renamed(node: Tree, parents: list[str], last: str, former: str) -> Tree:
    if parents:
        inner = node.get(parents[0])
        if not isinstance(inner, Mapping):
            return node
        return {**node, parents[0]: _renamed(inner, parents[1:], last, former)}
    if last not in node:
        return node
    present = RENAMED[former].rpartition(".")[2]
    if present in node:
        raise ConfigError(f"{former} is the former name of {RENAMED[former]}, and both are given; leave the first out")
    present_name(former)
    return {(present if key == last else key): value for key, value in node.items()}
