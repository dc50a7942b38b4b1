"""Writing files that are never seen half-written."""

from __future__ import annotations

from pathlib import Path


def draft_of(path: Path) -> Path:
    """Where a file or folder is written before it takes its place."""
    return path.with_name(f".{path.name}.draft")


def write_text(path: Path, text: str) -> None:
    """Writes a file that another process, or the next after a kill, never sees half-written."""
    draft = draft_of(path)
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
