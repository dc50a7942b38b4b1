"""`morl` in a process that meets a fault at its n-th operation on files of a folder.

    python killed.py FAULT N FOLDER COUNT_FILE ARGUMENTS..

`kill` ends it as SIGKILL or a power cut would; `full-BYTES` fills the file system of the folder up to so many bytes,
with a file `ballast` beside the folder; `limit-BYTES` lets no file grow beyond that, where nothing may be mounted.
N = 0 goes on undisturbed; the number of operations is written to COUNT_FILE then.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

EVENTS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "os.truncate"})


def meet(fault: str, folder: Path) -> None:
    """What happens."""
    kind, _, left = fault.partition("-")
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(left), resource.RLIM_INFINITY))
    else:
        disk = os.statvfs(folder.parent)
        with (folder.parent / "ballast").open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, disk.f_bavail * disk.f_frsize - int(left)))


def main() -> int:
    fault, at, folder, counted, arguments = sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), sys.argv[5:]
    count = 0

    def hook(event: str, details: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in EVENTS or not details or not str(details[0]).startswith(folder):
            return
        count += 1
        if count == at:
            meet(fault, Path(folder))

    sys.addaudithook(hook)
    from morl.cli import main as morl

    code = morl(arguments)
    if not at:
        counted.write_text(str(count))
    return code


if __name__ == "__main__":
    sys.exit(main())
