"""Writing files that are never seen half-written, and telling whether a file is still what was written."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CHECKSUM = ".sha256"
"""What the name of a checksum's file adds to that of the file or folder that it belongs to."""


def draft_of(path: Path) -> Path:
    """Where a file or folder is written before it takes its place: beside it, for a rename crosses no file system."""
    return path.with_name(f".{path.name}.draft")


def write_text(path: Path, text: str) -> None:
    """Writes a file that another process, or the next after a kill, never sees half-written."""
    draft = draft_of(path)
    with _gone_on_failure(draft):
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
        move_into_place(draft, path)


def write_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Calls `write` with a draft and gives it its name when it is on the disk; a folder that is there is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(path)
    remove(draft)
    with _gone_on_failure(draft):
        write(draft)
        remove(path)
        move_into_place(draft, path)


@contextmanager
def _gone_on_failure(draft: Path) -> Iterator[None]:
    """A draft that a full disk cut off would keep it full."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            remove(draft)
        raise


def move_into_place(draft: Path, path: Path) -> None:
    """Gives a finished draft its name once its content is on the disk, so that not even a power cut tears it."""
    for written in (draft, *(draft.rglob("*") if draft.is_dir() else ())):
        _sync(written)
    draft.replace(path)
    _sync(path.parent)


def sweep_drafts(folder: Path) -> None:
    """Removes what processes that were killed have left half-written directly in `folder`."""
    for draft in folder.glob(".*.draft"):
        remove(draft)


def remove(path: Path) -> None:
    """Removes a file or a folder with all it holds, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def checksum_of(path: Path) -> Path:
    """The file with the checksum of `path`."""
    return path.with_name(path.name + CHECKSUM)


def write_checksum(path: Path, content: Path) -> None:
    """Notes the SHA-256 of `content`, a draft, as that of `path`; `sha256sum --check` reads it where it is a file."""
    write_text(checksum_of(path), f"{_digest(content)}  {path.name}\n")


def noted_checksum(path: Path) -> str | None:
    """What the file with the checksum of `path` says; None where there is none."""
    noted = checksum_of(path)
    return noted.read_text(encoding="utf-8", errors="replace").partition(" ")[0] if noted.is_file() else None


def fault_of(path: Path) -> str | None:
    """What is wrong with a file or folder that has a checksum; None if nothing is.

    Of a zip archive without one, as older versions of morl left them, the archive's own checks are made.
    """
    noted = checksum_of(path)
    if path.is_file() and not path.stat().st_size:
        return "is empty"
    if (expected := noted_checksum(path)) is not None:
        return None if _digest(path) == expected else f"is not what was written, by its checksum in {noted.name}"
    if path.is_dir():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        return f"cannot be read: {error}"
    return f"holds a damaged part, {broken}" if broken else None


def _digest(path: Path) -> str:
    """Of a file its SHA-256; of a folder that of its files' names and digests."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    inner = sorted(entry for entry in path.rglob("*") if entry.is_file())
    lines = [f"{_digest(entry)}  {entry.relative_to(path).as_posix()}\n" for entry in inner]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # folders cannot be opened everywhere
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
