"""What judges import for the programs that they run, so that an answer need not.

A name counts only where the program uses it and neither defines nor imports it, so that nothing of the program's or of
Python's own is hidden: `pow` stays the builtin function whatever `math` has.
"""

from __future__ import annotations

import builtins
import importlib
import types
from collections.abc import Iterator
from typing import Any

MODULES = """
collections typing itertools functools heapq bisect math string operator copy random re sys os io json time datetime
statistics fractions decimal dataclasses enum abc queue array threading
""".split()  # noqa: SIM905 - a list of words
"""Judges import these modules, and the names in them; the first that has a name gives it."""


class ListNode:
    """A node of a linked list, as LeetCode has it."""

    def __init__(self, val: Any = 0, next: Any = None) -> None:
        self.val = val
        self.next = next


class TreeNode:
    """A node of a binary tree, as LeetCode has it."""

    def __init__(self, val: Any = 0, left: Any = None, right: Any = None) -> None:
        self.val = val
        self.left = left
        self.right = right


CLASSES: dict[str, Any] = {"ListNode": ListNode, "TreeNode": TreeNode}


def names_for(code: types.CodeType) -> dict[str, Any]:
    """What a compiled program uses of all this.  Its own definitions, made later, take the place of these.

    >>> sorted(names_for(compile("def f(x): return List[sum(x) + inf]", "program", "exec")))
    ['List', 'inf']
    """
    found = {}
    for name in {*names_in(code)} - {*vars(builtins)}:
        if name in CLASSES:
            found[name] = CLASSES[name]
        elif name in MODULES:
            found[name] = importlib.import_module(name)
        elif not name.startswith("_"):
            module = next((module for module in map(importlib.import_module, MODULES) if hasattr(module, name)), None)
            if module is not None:
                found[name] = getattr(module, name)
    return found


def names_in(code: types.CodeType) -> Iterator[str]:
    """The names that compiled code looks up, in its functions and classes too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from names_in(constant)
