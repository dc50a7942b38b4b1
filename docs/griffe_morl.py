"""What griffe, which reads the code for the site's Python interface, does not know of morl's code.

It knows dataclasses of the standard library, and would show no parameters of attrs classes: decorators and `field(..)`
are replaced by what the standard library has for them, in griffe's own model.  Doctests in the running text of
docstrings become blocks of code, for in Markdown they would be quotations.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from griffe import Attribute, Class, Decorator, ExprCall, ExprKeyword, ExprName, Extension, Object

DECORATORS = ("attrs.define", "attrs.frozen", "attrs.mutable")
OPTIONS = {"factory": "default_factory"}
KEPT = ("default", "factory", "init", "kw_only")

_DOCTEST = re.compile(r"^>>> .*\n?(?:^\S.*\n?)*", re.MULTILINE)


class MorlExtension(Extension):
    """Classes of attrs as dataclasses, doctests as code."""

    def on_instance(self, *, node: ast.AST | Any, obj: Object, **kwargs: Any) -> None:
        """Fences doctests."""
        if obj.docstring is not None:
            obj.docstring.value = _DOCTEST.sub(
                lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", obj.docstring.value
            )

    def on_class_instance(self, *, node: ast.AST | Any, cls: Class, **kwargs: Any) -> None:
        """Adds the standard decorator to one of attrs."""
        for decorator in [*cls.decorators]:
            value = decorator.value
            called = value.function if isinstance(value, ExprCall) else value
            if getattr(called, "canonical_path", "") not in DECORATORS:
                continue
            standard = ExprName("dataclasses.dataclass")
            options = [*value.arguments] if isinstance(value, ExprCall) else []
            cls.decorators.append(
                Decorator(ExprCall(standard, options), lineno=decorator.lineno, endlineno=decorator.endlineno)
            )

    def on_attribute_instance(self, *, node: ast.AST | Any, attr: Attribute, **kwargs: Any) -> None:
        """Gives `field(..)` the names of the standard library."""
        value = attr.value
        if not isinstance(value, ExprCall) or value.canonical_path != "attrs.field":
            return
        options = [
            ExprKeyword(OPTIONS.get(option.name, option.name), option.value)
            for option in value.arguments
            if isinstance(option, ExprKeyword) and option.name in KEPT
        ]
        attr.value = ExprCall(ExprName("dataclasses.field"), options)
