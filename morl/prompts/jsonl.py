"""Prompts from a file with one JSON object per line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from morl.errors import DataError, suggest
from morl.prompts.rows import RowOptions
from morl.types import Prompt

_OTHERS = "; CSV, Parquet, Arrow and JSON arrays are read by the prompt source `datasets` (`name: datasets`)"


@frozen(eq=False)
class JsonLines(RowOptions):
    """A file of JSON lines, plain or gzip (`.gz`), UTF-8; see `RowOptions` for the other options.

    Attributes:
        path: of the file, relative to the working directory.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp(), "sums.jsonl")
    >>> _ = file.write_text('{"question": "2+2?", "answer": "4"}')
    >>> JsonLines(str(file), prompt="question").load()
    (Prompt(content='2+2?', columns={'answer': '4'}),)
    """

    path: str

    def load(self) -> tuple[Prompt, ...]:
        """All rows, in memory.

        Raises:
            DataError: no such file, a line that is not a JSON object, a missing column, no row at all.
        """
        prompts = []
        for number, row in _rows(Path(self.path)):
            prompts.append(self.to_prompt(row, f"{self.path}, line {number}"))
            if len(prompts) == self.limit:
                break
        if not prompts:
            raise DataError(f"{self.path} is empty; expected one JSON object per line")
        return tuple(prompts)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers, from 1, and their objects; blank lines are passed over."""
    if not path.is_file():
        near = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        what = "is a folder, not a file" if path.is_dir() else f"does not exist{suggest(path.name, near)}"
        raise DataError(f"{path} {what} (looked in {Path.cwd()})")
    if path.suffix in (".csv", ".parquet", ".arrow"):
        raise DataError(f"{path} is no file of JSON lines{_OTHERS}")
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _object(line, f"{path}, line {number}")
        except (UnicodeDecodeError, gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise DataError(f"{path} cannot be read: {error}") from error


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        hint = f"; this looks like one JSON array, not JSON lines{_OTHERS}" if line.lstrip().startswith("[") else ""
        raise DataError(
            f"{where} is not JSON: {error.msg} at column {error.colno}: {line.strip()!r:.80}{hint}"
        ) from error
    if not isinstance(row, dict):
        hint = _OTHERS if isinstance(row, list) else ""
        raise DataError(f"{where}: expected a JSON object; got {line.strip()!r:.80}{hint}")
    return row
