"""Rows of a data set on the hub or in files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from morl.errors import DataError
from morl.prompts import is_single_file, read_data_set

if TYPE_CHECKING:
    from datasets import Dataset


def read_rows(path: str, split: str, subset: str | None = None) -> Dataset:
    """As `read_data_set`; of a single file, which has no splits, all rows whatever the split."""
    return read_data_set(path, "train" if is_single_file(path) else split, subset=subset)


def text_of(row: Mapping[str, Any], names: Sequence[str], where: str) -> str:
    """The text in the first of these columns that the row has.

    Raises:
        DataError: it has none of them, or no text in it.
    """
    for name in names:
        if isinstance(row.get(name), str) and row[name].strip():
            return str(row[name])
    raise DataError(f"{where} has no text in {' or '.join(map(repr, names))}; its columns: {', '.join(row)}")
