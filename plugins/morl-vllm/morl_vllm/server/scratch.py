"""Temporary folders that do not stay behind for good, even if their process is killed."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = "lock"


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A folder under `TMPDIR`, removed at the end; and those that killed processes left there are removed now.

    Its process holds a lock on a file in it, which the system releases when the process ends, however it does.  A
    number of the process would not do: under a shared `TMPDIR` those of several machines stand side by side.

    Args:
        prefix: of its name.
    """
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*/{_LOCK}"):
        _remove_if_left(path)
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with (folder / "unlocked").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pass  # a file system without locks: nobody can tell whether the folder is in use, so it is not removed
            else:
                # Only now does it have the name that others look for, so none of them can lock it first.
                (folder / "unlocked").rename(folder / _LOCK)
            yield folder


def _remove_if_left(lock: Path) -> None:
    try:
        with lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
    except OSError:
        return  # in use, of another user, or gone already
