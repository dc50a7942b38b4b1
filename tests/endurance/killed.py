"""`morl` in a process that kills itself at its n-th operation on files of a folder, as SIGKILL or a power cut would.

    python killed.py N FOLDER COUNT_FILE ARGUMENTS..

N = 0 lives; the number of operations is written to COUNT_FILE then.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

EVENTS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "os.truncate"})


def main() -> int:
    at, folder, counted, arguments = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:]
    count = 0

    def hook(event: str, details: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in EVENTS or not details or not str(details[0]).startswith(folder):
            return
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    from morl.cli import main as morl

    code = morl(arguments)
    if not at:
        counted.write_text(str(count))
    return code


if __name__ == "__main__":
    sys.exit(main())
