"""`config.history`: what a run was changed to, and after which step; the files that its config names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import asdict, field, frozen

from morl.artifacts.files import write_text
from morl.errors import DataError
from morl.texts import texts_in

WHOLE_BYTES = 1 << 28
"""Files up to this size are told apart by their content, larger ones by their size."""


@frozen
class Change:
    """What is different from one step on.

    Attributes:
        step: finished steps when the change was made; 0 for the beginning.
        changed: dotted key -> the values before and after.
        files: digests of the files that the config names, where they are not those of the entry before.
    """

    step: int
    changed: Mapping[str, list[Any]] = field(factory=dict)
    files: Mapping[str, str] = field(factory=dict)


def read_history(path: Path) -> list[Change]:
    """The entries in their order; none where there is no file.

    Raises:
        DataError: it cannot be read, or holds something else.
    """
    if not path.is_file():
        return []
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or ()
        return [_change(entry) for entry in entries]
    except (TypeError, ValueError, yaml.YAMLError) as error:
        problem = str(error).splitlines()[0]
        raise DataError(f"{path} is not a list of changes by step: {problem}") from error


def _change(entry: Any) -> Change:
    if not isinstance(entry, Mapping):
        raise ValueError(f"expected a mapping; got {entry!r:.60}")
    change = Change(**entry)
    for mapping in (change.changed, change.files):
        if not isinstance(mapping, Mapping):
            raise ValueError(f"expected mappings of what changed and of files; got {mapping!r:.60}")
    if not isinstance(change.step, int):
        raise ValueError(f"expected a whole number as the step; got {change.step!r:.60}")
    return change


def write_history(path: Path, entries: list[Change]) -> None:
    """Replaces the file at once."""
    write_text(path, yaml.safe_dump([asdict(entry) for entry in entries], sort_keys=False, allow_unicode=True))


def known_files(entries: list[Change]) -> dict[str, str]:
    """The last known digest of every file."""
    return {name: digest for entry in entries for name, digest in entry.files.items()}


def named_files(config: Any) -> dict[str, str]:
    """Digests of all files that a config names, `file.py:function` included."""
    names = sorted({name for text in texts_in(config) for name in (text, text.rpartition(":")[0]) if _is_file(name)})
    return {name: _digest(Path(name)) for name in names}


def _is_file(name: str) -> bool:
    try:
        return bool(name) and Path(name).is_file()
    except (OSError, ValueError):  # too long for a name, or with a null byte
        return False


def _digest(path: Path) -> str:
    if path.stat().st_size > WHOLE_BYTES:
        return f"{path.stat().st_size} bytes"
    with path.open("rb") as file:
        return f"sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}"
