"""Where made policies are kept: a folder per combination of options and library versions."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock

_MADE_WITH = ("morl-playground", "tokenizers", "torch", "transformers")


def kept_in(cache: str | None) -> Path:
    """The folder of made policies: `cache`, else `$XDG_CACHE_HOME/morl-playground` or `~/.cache/morl-playground`."""
    if cache is not None:
        return Path(cache)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "morl-playground"


def fingerprint(made_from: Mapping[str, Any]) -> str:
    """16 digits that change with everything a policy is made from, as JSON, and with the libraries that make it."""
    versions = {name: version(name) for name in _MADE_WITH}
    text = json.dumps({"options": made_from, "versions": versions}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def made_once(folder: Path, make: Callable[[Path], None]) -> str:
    """`folder`, which `make` fills if it is not there yet; nothing half made ever stands under its name.

    Processes that need the same folder at the same time, as those of one seed in a study do, wait for the first.
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
