"""Checkpoints as files: written whole or not at all, checked before they are used, read without running them."""

from __future__ import annotations

import pickle
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load

from morl.artifacts.files import (
    checksum_of,
    draft_of,
    fault_of,
    move_into_place,
    noted_checksum,
    remove,
    write_checksum,
)
from morl.artifacts.folder import RunFolder, damaged, steps_in
from morl.errors import ConfigError, TrainingError, UntrustedError, told
from morl.runtime.exchange import is_first_rank
from morl.training.probe import Difference
from morl.training.sampled import Sampled
from morl.types import RolloutBatch, Turn

CLASSES = (
    (Sampled, "morl.training.rollouts.Sampled"),
    (RolloutBatch, "morl.types.RolloutBatch"),
    RolloutBatch,
    Difference,
    Turn,
)
"""What checkpoints of earlier versions hold besides tensors and plain values, under the names that it had.

Later ones hold nothing else.  See `torch.load` on `weights_only`."""

SPARE_BYTES = 1 << 20
"""Room for the structure of a checkpoint, besides its tensors."""


class CheckpointFiles(TorchCheckpointIO):
    """Lightning's way to a checkpoint that is one file.

    Lightning itself drafts in the folder for temporary files and moves from there, which across file systems is a copy
    that a kill or a full disk tears.  Here the draft lies beside its target.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes a checkpoint and its checksum.

        Raises:
            TrainingError: there is no room for it.
        """
        if "://" in str(path):  # an object store, where a user's own callback may write, has no half-written files
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        check_room(target, bytes_of(checkpoint))
        write_whole(target, lambda draft: torch.save(checkpoint, draft))

    def load_checkpoint(self, path: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Reads a checkpoint.

        Raises:
            UntrustedError: it holds something that would have to be run.
        """
        try:
            return super().load_checkpoint(path, *arguments, **options)
        except pickle.UnpicklingError as error:
            # torch's own words begin with the advice to read it without this protection.
            named = re.search(r"GLOBAL (\S+)", str(error))
            raise UntrustedError(
                f"{path} holds an object of a class that reading a checkpoint may not run:"
                f" {named[1] if named else error}; if a callback of your own put it there, call"
                " torch.serialization.add_safe_globals in its module, otherwise do not trust the file"
            ) from error


def write_whole(target: Path, write: Callable[[Path], None]) -> None:
    """Calls `write` with a draft, and gives the draft its name when its content and its checksum are on the disk.

    The checksum comes first, so that no checkpoint is ever without one.

    Raises:
        TrainingError: the file system is full, or refuses to be written to.
    """
    draft = draft_of(target)
    remove(draft)
    try:
        write(draft)
        seal(draft, target)
    except (OSError, RuntimeError) as error:  # torch makes a RuntimeError of a full disk
        remove(draft)
        raise TrainingError(f"{target} could not be written: {error}") from error


def seal(draft: Path, target: Path) -> None:
    """Gives a draft its checksum and its place."""
    write_checksum(target, draft)
    if target.is_dir():
        remove(target)  # a folder is not replaced
    move_into_place(draft, target)


def bytes_of(content: Any) -> int:
    """Bytes of all tensors in nested mappings and sequences; what shares its memory is counted once."""
    seen: dict[int, int] = {}
    waiting = [content]
    while waiting:
        match waiting.pop():
            case Tensor() as tensor:
                storage = tensor.untyped_storage()
                seen[storage.data_ptr()] = storage.nbytes()
            case dict() as mapping:
                waiting.extend(mapping.values())
            case list() | tuple() as items:
                waiting.extend(items)
    return sum(seen.values())


def check_room(target: Path, needed: int) -> None:
    """Refuses to begin what would fill the disk.

    Raises:
        TrainingError: says how much is missing.
    """
    free = shutil.disk_usage(target.parent).free
    if free < needed + SPARE_BYTES:
        raise TrainingError(
            f"{target.name} needs {_megabytes(needed)} and {target.parent} has {_megabytes(free)} left; make room,"
            " lower training.keep_checkpoints, or leave the optimizer's state out with training.keep: weights"
        )


def usable_checkpoint(folder: RunFolder) -> Path | None:
    """The newest checkpoint that is what was written; None if there never was one.

    A damaged one is named and set aside, under a name that ends in `.damaged`, and the one before is looked at.  Every
    rank finds the same, for every rank looks at the content; the first does the moving.

    Raises:
        ConfigError: all there are are damaged.
    """
    for name in folder.stray_checkpoints() if is_first_rank() else ():
        warnings.warn(
            f"{folder.checkpoints / name} is not a checkpoint of this run, which are named step-NNNNNN.ckpt; it is left"
            " alone",
            stacklevel=2,
        )
    found = folder.all_checkpoints()
    for checkpoint in reversed(found):
        try:
            fault = fault_of(checkpoint) or fault_inside(checkpoint)
        except FileNotFoundError:  # the first rank has moved it meanwhile
            continue
        if fault is None:
            if checkpoint.is_dir() and noted_checksum(checkpoint) is None and is_first_rank():
                warnings.warn(
                    f"{checkpoint} has no checksum any more, so that its weights are taken as they are; it is"
                    f" {checksum_of(checkpoint).name}",
                    stacklevel=2,
                )
            return checkpoint
        if is_first_rank():
            aside = damaged(checkpoint)
            remove(aside)
            checkpoint.rename(aside)
            remove(checksum_of(checkpoint))
            warnings.warn(
                f"{checkpoint} {fault}; it is set aside as {aside.name}, and the checkpoint before it is used",
                stacklevel=2,
            )
    if found or any(folder.checkpoints.glob("step-*.damaged")):
        raise ConfigError(
            f"every checkpoint in {folder.checkpoints} is damaged; start anew in another folder:"
            f" morl train {folder.config} --output=FOLDER"
        )
    return None


def fault_inside(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint that is whole: it is that of another step than its name says, or of no run."""
    if checkpoint.is_dir():
        if (fault := _fault_of_shards(checkpoint)) is not None:
            return fault
        return None if _finished_steps_of_shards(checkpoint) == steps_in(checkpoint) else _MISNAMED
    try:
        with torch.serialization.safe_globals([*CLASSES]):
            # Mapped, so that no more of it is read than is looked at.
            content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:  # which says what to do when it is loaded
        return None
    except (EOFError, RuntimeError, ValueError) as error:
        return f"cannot be read: {type(error).__name__}"
    state = content.get("state_dict") if isinstance(content, dict) and "pytorch-lightning_version" in content else None
    finished = state.get("finished_steps") if isinstance(state, dict) else None
    return None if finished is not None and int(finished) == steps_in(checkpoint) else _MISNAMED


_MISNAMED = "is not the state of a run after as many steps as its name says"


def _fault_of_shards(checkpoint: Path) -> str | None:
    """What a sharded checkpoint lacks of what it says that it has; its bytes are for the checksum."""
    if not (checkpoint / "meta.pt").is_file():
        return "lacks meta.pt, which is written last"
    try:
        stored = FileSystemReader(checkpoint).read_metadata().storage_data.values()
        ends = [(checkpoint / part.relative_path, part.offset + part.length) for part in stored]
    except Exception as error:  # noqa: BLE001 - a pickle that is damaged raises anything
        return f"cannot be read: {told(error)}"
    for shard, end in ends:
        if not shard.is_file() or shard.stat().st_size < end:
            return f"lacks a part of {shard.name}"
    return None


def _finished_steps_of_shards(checkpoint: Path) -> int:
    finished = torch.tensor(-1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.distributed is disabled.*")  # which is what is asked for
        try:
            load(
                {"state_dict": {"finished_steps": finished}}, storage_reader=FileSystemReader(checkpoint), no_dist=True
            )
        except (CheckpointException, RuntimeError, KeyError, OSError):
            return -1
    return int(finished)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
