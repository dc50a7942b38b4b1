"""Rows of a data set on the hub or in files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morl.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

_READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}


def is_file(path: str) -> bool:
    """Whether `path` names a single file, which has no splits."""
    return _reader(path) is not None


def read_rows(path: str, split: str, subset: str | None = None) -> Dataset:
    """The rows, read from disk as they are asked for.

    Args:
        path: a `.jsonl`, `.json` (gzip as `.gz`) or `.parquet` file, or whatever else `datasets.load_dataset` reads.
        split: of a path that is not a single file.
        subset: configuration of a hub data set that has several.

    Raises:
        DataError: no such file, data set, subset or split; no rows.
    """
    from datasets import load_dataset  # takes a second to import

    try:
        if reader := _reader(path):
            rows = load_dataset(reader, data_files=path, split="train")
        else:
            rows = load_dataset(path, name=subset, split=split)
    except Exception as error:
        raise DataError(f"cannot read rows from {path!r}: {type(error).__name__}: {error}") from error
    if not len(rows):
        raise DataError(f"{path!r} has no rows")
    return rows


def text_of(row: Mapping[str, Any], names: Sequence[str], where: str) -> str:
    """The text in the first of these columns that the row has.

    Raises:
        DataError: it has none of them, or no text in it.
    """
    for name in names:
        if isinstance(row.get(name), str) and row[name].strip():
            return str(row[name])
    raise DataError(f"{where} has no text in {' or '.join(map(repr, names))}; its columns: {', '.join(row)}")


def _reader(path: str) -> str | None:
    name = Path(path)
    return _READERS.get(Path(name.stem).suffix if name.suffix == ".gz" else name.suffix)
