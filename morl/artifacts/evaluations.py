"""`evaluation.json`: what the held-out prompts earned, by number of finished steps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from morl.errors import DataError


def read_evaluations(path: Path) -> list[dict[str, Any]]:
    """The rows in the order of the file: `step`, `metrics`, `scored`, and what else an evaluation noted.

    Raises:
        DataError: it cannot be read, or holds something else; names the file and the row.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(rows, list):
        raise DataError(f"{path} is not a list of evaluations; it holds a {type(rows).__name__}")
    return [_row(row, f"{path}, evaluation {number}") for number, row in enumerate(rows)]


def _row(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, Mapping) or not _is_number(row.get("step"), int):
        raise DataError(f"{where}: expected a mapping with a whole number as its step; got {row!r:.60}")
    scored, intervals = row.get("scored", {}), row.get("intervals", {})
    for key, values, fits in (
        ("metrics", row.get("metrics"), _is_number_or_none),
        ("scored", scored, lambda value: isinstance(value, str)),
        ("intervals", intervals, _is_interval),
    ):
        if not isinstance(values, Mapping):
            raise DataError(f"{where}: {key} is not a mapping by reward; got {values!r:.60}")
        for name, value in values.items():
            if not fits(value):
                raise DataError(f"{where}: {key} has {value!r:.60} for {name!r}")
    return {**row, "metrics": dict(row["metrics"]), "scored": dict(scored)}


def _is_number(value: Any, kind: type | tuple[type, ...] = (int, float)) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _is_number_or_none(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number_or_none, value))
