"""Model folders that a policy source makes once and keeps: whole or absent, whichever processes want them at once."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def cache_folder(owner: str, cache: str | None = None) -> Path:
    """Where a plugin keeps what it makes: `cache`, else `$XDG_CACHE_HOME/<owner>` or `~/.cache/<owner>`.

    >>> str(cache_folder("my-plugin", "/scratch/models"))
    '/scratch/models'
    """
    if cache is not None:
        return Path(cache).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / owner


def made_once(folder: Path, make: Callable[[Path], None]) -> str:
    """`folder`, which `make` fills if it is not there yet; nothing half made ever stands under its name.

    Processes that need the same folder at the same time, as the ranks of a run do, wait for the first.

    Args:
        folder: its name says what is in it: a folder that exists is taken as it is.
        make: writes into the empty folder it is given, which is then renamed.
    """
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.lock"):
            if not folder.is_dir():
                _make(folder, make)
    return str(folder)


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
    try:
        make(unfinished)
        os.chmod(unfinished, 0o755)
        unfinished.rename(folder)  # atomic: a folder of the final name is always complete
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
