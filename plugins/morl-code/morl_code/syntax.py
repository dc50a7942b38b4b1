"""Python source of data sets as syntax trees."""

from __future__ import annotations

import ast
import warnings


def parse(source: str) -> ast.Module:
    """The tree of `source`, without Python's warnings about its style.

    Raises:
        SyntaxError: it does not compile.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)
