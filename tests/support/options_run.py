"""A script for every rank of a run: trains each config of a file, whole, and resumed from the first of its checkpoints.

One pair of processes trains them all, one after the other, as a script that calls `morl.train` several times does.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch.distributed

from morl import train
from morl.artifacts.folder import steps_in


def whole_and_resumed(config: dict[str, Any]) -> None:
    """Trains to the end in the config's folder, and once more in the folder with `-resumed` after its name."""
    whole = Path(config["output"])
    half = whole.with_name(whole.name + "-resumed")
    train(config)
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        shutil.copytree(whole, half, ignore=_later)
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
    train({**config, "output": str(half)}, resume=True)


def _later(folder: str, names: list[str]) -> list[str]:
    """What the first step did not leave."""
    later = [name for name in names if name.endswith(".ckpt") and steps_in(Path(name)) > 1]
    return later + [name for name in names if name in ("model", "best")]


if __name__ == "__main__":
    for each in json.loads(Path(sys.argv[1]).read_text()):
        whole_and_resumed(each)
