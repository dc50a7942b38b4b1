"""The package `bfcl-eval`: where its data lies, and its modules that need nothing besides.

Most of it imports the SDKs of vendors, and its loader makes folders beside the package when it is imported.  What is
used here does neither: files of data, which are read as they are, the texts of its prompts, and its tool worlds.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from morl.errors import PluginError

VERSION = "2026.3.23"
"""Another version may have other tasks under the same names."""

_INSTALL = f"pip install --no-deps bfcl-eval=={VERSION}"
_WORLDS = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
_MODULES = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "TwitterAPI": "posting_api",
    "VehicleControlAPI": "vehicle_control",
}
"""Class -> module of it, and file of its documentation."""


@cache
def _data() -> Path:
    """The folder of the data.

    Raises:
        PluginError: the package is not installed, or in another version.
    """
    try:
        installed = version("bfcl-eval")
    except PackageNotFoundError as error:
        raise PluginError(
            f"the tasks of BFCL are in the package bfcl-eval, which is not installed: {_INSTALL}"
        ) from error
    if installed != VERSION:
        raise PluginError(f"bfcl-eval {installed} may have other tasks than {VERSION}, which is supported: {_INSTALL}")
    spec = find_spec("bfcl_eval")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0], "data")


def check_installed() -> None:
    """Refuses to go on without the package.

    Raises:
        PluginError: it is not installed, or in another version; says what to do.
    """
    _data()


def rows(category: str) -> list[dict[str, Any]]:
    """The tasks of a category, as the package holds them."""
    return _lines(f"BFCL_v4_{category}.json")


def answers(category: str) -> dict[str, Any]:
    """The reference answers of a category, by the id of the task; none where the category has none."""
    name = f"possible_answer/BFCL_v4_{category}.json"
    found = _lines(name) if (_data() / name).exists() else []
    return {row["id"]: row["ground_truth"] for row in found}


@cache
def world_functions(name: str) -> tuple[dict[str, Any], ...]:
    """Documentation of the functions of a tool world.  Shared: not to be changed."""
    return tuple(_lines(f"multi_turn_func_doc/{_MODULES[name]}.json"))


@cache
def world_class(name: str) -> type[Any]:
    """The class of a tool world."""
    check_installed()
    found: type[Any] = getattr(import_module(f"{_WORLDS}.{_MODULES[name]}"), name)
    return found


@cache
def texts() -> Any:
    """The module with the texts of BFCL's prompts."""
    check_installed()
    return import_module("bfcl_eval.constants.default_prompts")


def _lines(name: str) -> list[dict[str, Any]]:
    with open(_data() / name, encoding="utf-8") as file:
        return [json.loads(line) for line in file]
