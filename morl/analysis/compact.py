"""JSON for files that are committed: a line that changed shows in a diff, and ten numbers do not take ten lines."""

from __future__ import annotations

import json
import re
from typing import Any

_INNERMOST = re.compile(r"\[\n[^\"\[\]{}]*\]|{\n[^\[\]{}]*}")
"""Between the brackets is a line break, which no string of JSON can hold."""


def compact_json(tree: Any) -> str:
    """Indented JSON in which lists of numbers and objects of plain values stand on one line.

    >>> print(compact_json({"numbers": [1, 2.5], "names": ["a"], "plain": {"n": 1}}), end="")
    {
     "numbers": [ 1, 2.5 ],
     "names": [
      "a"
     ],
     "plain": { "n": 1 }
    }

    Raises:
        ValueError: a number is NaN or infinite, for which JSON has no word.
    """
    text = json.dumps(tree, indent=1, allow_nan=False)
    return _INNERMOST.sub(lambda found: re.sub(r"\n *", " ", found[0]), text) + "\n"
