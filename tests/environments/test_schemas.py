"""Functions become schemas, or it is said why not."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal, Optional

import pytest
from chat_families import family_tokenizer

from morl.environments.schemas import tool_schema
from morl.errors import ConfigError
from morl.isolation.importing import import_function


@dataclasses.dataclass
class Point:
    x: int


class World:
    async def look(
        self,
        where: str,
        how: Literal["near", "far"] = "near",
        who: Optional[list[int]] = None,  # noqa: UP045 - what users write
        more: dict[str, float] | None = None,
        pair: tuple[int, str] = (1, "a"),
        anything: Any = None,
    ) -> str:
        """Looks around.

        Args:
            where: the place
            how: the distance
            who: numbers
            more: others
            pair: two
            anything: whatever
        """
        return where

    @staticmethod
    def wait(seconds: float) -> None:
        """Waits.

        Args:
            seconds: how long
        """


def test_a_schema_has_names_types_and_descriptions():
    schema = tool_schema(World().look)
    function = schema["function"]
    assert (schema["type"], function["name"], function["description"]) == ("function", "look", "Looks around.")
    properties = function["parameters"]["properties"]
    assert properties["where"] == {"type": "string", "description": "the place"}
    assert properties["how"]["enum"] == ["near", "far"]
    assert properties["who"]["nullable"] is True
    assert function["parameters"]["required"] == ["where"]
    assert tool_schema(World.wait)["function"]["name"] == "wait"
    assert tool_schema(World.look) == schema  # as a class has it, which environments of classes go by


def test_a_tokenizer_writes_it_as_it_writes_the_function():
    tokenizer, messages = family_tokenizer("qwen3"), [{"role": "user", "content": "u"}]
    ours, theirs = (
        tokenizer.apply_chat_template(messages, tools=[tool], tokenize=False)
        for tool in (tool_schema(World.wait), World.wait)
    )
    assert ours == theirs


def no_docstring(x: int): ...


def no_type(x):
    """Does.

    Args:
        x: it
    """


def not_described(x: int):
    """Does."""


def numpy_style(x: int):
    """Does.

    Parameters
    ----------
    x : int
        it
    """


def sphinx_style(x: int):
    """Does.

    :param x: it
    """


def typed_in_the_docstring(x: int):
    """Does.

    Args:
        x (int): it
    """


def stars(*xs: int):
    """Does.

    Args:
        xs: them
    """


def double_stars(**xs: int):
    """Does.

    Args:
        xs: them
    """


def by_place(x: int, /):
    """Does.

    Args:
        x: it
    """


def a_dataclass(x: Point):
    """Does.

    Args:
        x: it
    """


def within(x: list[Point] | None):
    """Does.

    Args:
        x: it
    """


def a_set(x: set[int]):
    """Does.

    Args:
        x: it
    """


def bytes_of(x: bytes):
    """Does.

    Args:
        x: it
    """


def numbered(x: dict[int, str]):
    """Does.

    Args:
        x: it
    """


def unknown_name(x: Nowhere):  # noqa: F821 - that is the point
    """Does.

    Args:
        x: it
    """


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (no_docstring, r"test_schemas\.no_docstring: it has no docstring; .* under `Args:`"),
        (no_type, r"no_type: the argument 'x' has no type; annotate it: x: str"),
        (not_described, r"not_described: its docstring does not describe the argument 'x'; write under `Args:` a line"),
        (numpy_style, r"the argument 'x'; .* \(NumPy's style of docstrings is not read\)"),
        (sphinx_style, r"the argument 'x'; .* \(Sphinx' style of docstrings is not read\)"),
        (typed_in_the_docstring, r"the argument 'x'; .*, without a type in parentheses"),
        (stars, r"the argument \*xs has no names of its own"),
        (double_stars, r"the argument \*\*xs has no names of its own"),
        (by_place, r"the argument 'x' cannot be given by name, .*; leave out the /"),
        (a_dataclass, r"the argument 'x' has the type Point, which JSON does not have; use int, float"),
        (within, r"the argument 'x' has the type Point, which"),
        (a_set, r"the argument 'x' has the type set\[int\], which"),
        (bytes_of, r"the argument 'x' has the type bytes, which"),
        (numbered, r"the argument 'x' has the type dict\[int, str\]: keys of an object are texts"),
        (unknown_name, r"its annotations cannot be read \(NameError: name 'Nowhere' is not defined\); import"),
        (World, r"World must be a function or a method; it is a class: wrap it"),
        (print, r"builtins\.print must be a function or a method; it is of the type builtin_function_or_method"),
        (functools.partial(by_place, 1), r"must be a function or a method; it is of the type partial"),
        (lambda x: x, r"<lambda> needs a name that a model can call"),
    ],
)
def test_what_cannot_become_a_schema_is_refused_by_name(function, problem):
    with pytest.raises(ConfigError, match=problem):
        tool_schema(function)


def a_set_of_them(x: int = 3) -> set[int]:
    """Does.

    Args:
        x: it

    Returns:
        Them.
    """


def something_that_is_imported_for_type_checkers_only(x: int = 3) -> DataFrame:  # noqa: F821
    """Does.

    Args:
        x: it
    """


def of_a_decorator(function):
    @functools.wraps(function)
    def counted(*args, **kwargs):
        return function(*args, **kwargs)

    return counted


@pytest.mark.parametrize(
    "function",
    [
        a_set_of_them,
        something_that_is_imported_for_type_checkers_only,
        of_a_decorator(a_set_of_them),
        of_a_decorator(something_that_is_imported_for_type_checkers_only),
    ],
)
def test_what_a_function_returns_need_not_be_of_json(function):
    parameters = tool_schema(function)["function"]["parameters"]
    assert parameters["properties"] == {"x": {"type": "integer", "description": "it"}}
    assert parameters.get("required", []) == []


def test_a_function_of_a_file_is_called_by_the_file(tmp_path):
    path = tmp_path / "undescribed.py"
    path.write_text("def act(x: int):\n    return x\n")
    with pytest.raises(ConfigError, match=rf"the tool {path}:act: it has no docstring"):
        tool_schema(import_function(f"{path}:act"))
