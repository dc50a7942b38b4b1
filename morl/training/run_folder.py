"""The run folder at the start of a run: refused, made, taken back, or found fit to be resumed."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import yaml
from lightning.pytorch.loggers import Logger

from morl.artifacts.exported import read_note
from morl.artifacts.files import CHECKSUM, draft_of, remove, sweep_drafts, write_text
from morl.artifacts.folder import RunFolder, damaged, steps_in
from morl.artifacts.history import Change, known_files, named_files, read_history, write_history
from morl.artifacts.table import MetricsFile, Row, read_rows
from morl.config.load import read_yaml
from morl.errors import ConfigError, DataError, MorlError, TrainingError, refusal_of
from morl.runtime.exchange import is_first_rank
from morl.training.callbacks.metrics_rows import MetricsTable
from morl.training.checkpoint_files import usable_checkpoint
from morl.training.resume_rules import Changes, changes, check_changes
from morl.training.trackers import open_trackers

_log = logging.getLogger(__name__)

MOST_LOOKS = 100
"""At a lock that is taken away each time; on a file system that numbers files anew at every look none would be held."""


@contextmanager
def held(folder: RunFolder) -> Iterator[None]:
    """Within it no other process runs in this folder; whoever tries is told so.

    The system lets go of the lock of a process that is killed.

    Raises:
        ConfigError: the folder cannot be written to, or another process is at work in it.
    """
    if not is_first_rank():
        yield
        return
    with _held_lock(folder):
        try:
            yield
        finally:
            folder.lock.unlink(missing_ok=True)
            # Only where nothing was begun.
            with suppress(OSError):
                folder.path.rmdir()


def _held_lock(folder: RunFolder) -> IO[str]:
    """The file of the folder's lock, locked.

    Raises:
        ConfigError: the folder cannot be written to, or another process holds it.
    """
    for look in range(MOST_LOOKS):
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
            lock = folder.lock.open("a")
        except FileExistsError as error:
            raise ConfigError(f"output: {folder.path} is a file; name a folder") from error
        except (OSError, ValueError) as error:  # which a null byte is
            raise ConfigError(
                f"output: {folder.path} cannot be written to: {error}; choose another --output"
            ) from error
        if not _lock(lock):
            lock.close()
            raise ConfigError(f"output: another process is running in {folder.path}; wait for its end, or stop it")
        # Whoever held it takes it away at the end, also between our opening and our locking: then it locks nothing.
        if _is_there(lock, folder.lock) or look == MOST_LOOKS - 1:
            break
        lock.close()
    return lock


def _is_there(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


@contextmanager
def refusals_explained(folder: RunFolder) -> Iterator[None]:
    """Within it a file system that takes nothing more is an error that says so, whichever library met it.

    Raises:
        TrainingError: the disk is full, over quota, read-only or gone.
    """
    try:
        with _refusals_in_threads():
            yield
    except MorlError:
        raise
    except Exception as error:
        refusal = refusal_of(error)
        if refusal is None:
            if (stranger := _unusable(error, folder)) is None:
                raise
            raise TrainingError(
                f"the run folder cannot be used as it is: {stranger}; put right what stands there, or take it away"
            ) from error
        try:
            left = f"{shutil.disk_usage(folder.path).free / 1e6:,.1f} MB are left there"
        except OSError as unreadable:
            left = f"which cannot be read either: {unreadable}"
        raise TrainingError(
            f"a file could not be written: {refusal}; the run is in {folder.path}, {left}; make room, and"
            f" {'resume from the last checkpoint' if folder.complete_checkpoints() else 'begin again'}"
        ) from error


@contextmanager
def _refusals_in_threads() -> Iterator[None]:
    """Within it what a thread such as TensorBoard's may not write is one line, without a traceback."""
    before = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        refusal = None if failed.exc_value is None else refusal_of(failed.exc_value)
        if refusal is None:
            before(failed)
        else:
            name = "a thread" if failed.thread is None else type(failed.thread).__module__.partition(".")[0]
            _log.warning("%s could not write its file: %s", name, refusal)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def _unusable(error: Exception, folder: RunFolder) -> str | None:
    """What the system says of a path in the run folder, such as a folder where a file should be; None of others."""
    if not isinstance(error, OSError):
        return None
    paths = [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    inside = any(path.absolute().is_relative_to(folder.path.absolute()) for path in paths)
    return f"{error.strerror}: {paths[-1]}" if inside else None


def check_new(folder: RunFolder, config: Mapping[str, Any]) -> None:
    """Refuses a folder that holds something, so that no run is overwritten.

    A run that was ended before its first checkpoint has nothing to lose: the same config begins it again.

    Raises:
        ConfigError: names the folder and the ways out.
    """
    if not is_first_rank():
        return  # The first rank may have created it by now.
    # What a run writes before its config, and what one that was killed then was writing.
    first = {folder.history, *map(draft_of, folder.entries)}
    if not folder.path.is_dir() or {*folder.path.iterdir()} <= {folder.lock, folder.nonfinite, *first}:
        for path in first:
            remove(path)
        return
    is_run = folder.config.exists()
    if is_run and _has_nothing_to_lose(folder) and not changes(_config(folder), config):
        warnings.warn(f"{folder.path}: the run ended before its first checkpoint; it begins again", stacklevel=2)
        discard(folder)
        return
    holds = "another run" if is_run else "other files"
    way_out = f", or resume that run: morl resume {folder.path}" if is_run else ""
    raise ConfigError(f"output: {folder.path} holds {holds}; choose a new folder with --output=FOLDER{way_out}")


_LENGTH = ("training.steps", "training.epochs")
"""Changed by who gives a run more to do, which needs no warning."""


def create(folder: RunFolder, config: Mapping[str, Any], surroundings: Callable[[], Mapping[str, Any]]) -> None:
    """Makes the folder and writes down the config and what the run runs on, which the first rank alone finds out."""
    if not is_first_rank():
        return
    folder.path.mkdir(parents=True, exist_ok=True)
    for inside in (folder.path, folder.checkpoints, folder.samples, folder.logs, folder.exports):
        sweep_drafts(inside)
    write_text(folder.config, yaml.safe_dump(dict(config), sort_keys=False))
    write_text(folder.environment, json.dumps(surroundings(), indent=2) + "\n")


def discard(folder: RunFolder) -> None:
    """Takes back `create` and what loggers have begun, for a run that ended before its first checkpoint."""
    if not is_first_rank():
        return
    sweep_drafts(folder.path)
    for path in reversed(folder.entries):  # the config last: it tells a run that was killed here from other files
        remove(path)


def check_resumable(folder: RunFolder, config: Mapping[str, Any]) -> tuple[Path, Changes]:
    """The newest checkpoint that is sound, if a run with this config can be resumed from it, and what changes with it.

    Raises:
        ConfigError: no checkpoint, no steps left, or settings changed that a checkpoint brings with it.
    """
    checkpoint = usable_checkpoint(folder)
    if checkpoint is None:
        again = f"; it was ended before its first, so begin it again: morl train {folder.config}"
        raise ConfigError(f"{folder.path} has no checkpoint to resume from{again if folder.config.is_file() else ''}")
    if (steps := config["training"]["steps"]) is not None:
        check_steps_left(folder, steps_in(checkpoint), steps)
    before = _config(folder)
    differ = changes(before, config)
    check_changes(differ, before, config, folder)
    return checkpoint, differ


def check_steps_left(folder: RunFolder, done: int, steps: int) -> None:
    """Refuses to resume a run that has nothing left to do.

    Args:
        folder: of the run.
        done: its finished steps.
        steps: all that it is to have.

    Raises:
        ConfigError: says how many there are.
    """
    planned = (_config(folder).get("training") or {}).get("steps") or max(done, steps)
    if done > steps:
        raise ConfigError(
            f"training.steps={steps}: {folder.path} has done {done} of {planned} steps already; give it more of them,"
            f" such as --training.steps={max(2 * done, planned)}"
        )
    if done == steps and folder.model.is_dir():
        raise ConfigError(
            f"{folder.path} has finished its {done} steps; to continue, give it more: --training.steps={2 * done}"
        )


def record_changes(
    folder: RunFolder, config: Mapping[str, Any], step: int, differ: Changes, data: Mapping[str, str]
) -> bool:
    """Notes from which step on what is different, the content of files that the config names and of `data` included.

    Returns:
        whether something is that decides what the steps to come are; on the first rank.
    """
    if not is_first_rank():
        return False
    entries = _history(folder)
    before, files = known_files(entries), {**named_files(config), **data}
    changed_files = {name: digest for name, digest in files.items() if before.get(name) != digest}
    altered = [name for name in changed_files if name in before]
    if altered:
        warnings.warn(f"{', '.join(altered)} changed since the run began; noted in {folder.history}", stacklevel=2)
    telling = {key: values for key, values in differ.items() if key not in _LENGTH}
    if telling:
        keys = ", ".join(f"{key} from {old!r} to {new!r}" for key, (old, new) in telling.items())
        warnings.warn(
            f"from step {step + 1} on, the resumed run changes {keys}; noted in {folder.history}", stacklevel=2
        )
    entry = Change(step, {key: list(values) for key, values in differ.items()}, changed_files)
    if (differ or changed_files or not entries) and entry not in entries[-1:]:
        write_history(folder.history, [*entries, entry])
    return bool(telling or altered)


def forget_later(folder: RunFolder, done: int, *, altered: bool) -> None:
    """Takes away what a resumed run has written for steps that it has yet to do, as their rows of metrics are.

    What it will write again bit for bit may stay until then; after a change it belongs to no run.

    Args:
        folder: of the run.
        done: finished steps.
        altered: whether settings or files are others than before.
    """
    if not is_first_rank():
        return
    for path in folder.later_samples(done):
        remove(path)
    if not altered:
        return
    note = read_note(folder.best)
    later = [*folder.later_exports(done), *([folder.best] if note is not None and note.step > done else ())]
    for path in later:
        remove(path)
    if later:
        names = ", ".join(str(path.relative_to(folder.path)) for path in later)
        warnings.warn(f"{names}: of later steps under the former settings, and so taken away", stacklevel=2)


def _history(folder: RunFolder) -> list[Change]:
    """What was changed before; a file that cannot be read is named and set aside, and the record begins anew."""
    try:
        return read_history(folder.history)
    except DataError as error:
        aside = damaged(folder.history)
        remove(aside)
        folder.history.replace(aside)
        warnings.warn(f"{error}; it is set aside as {aside.name}, and the record of changes begins anew", stacklevel=2)
        return []


def kept_rows(folder: RunFolder, done: int) -> list[Row]:
    """Rows of the steps that an earlier part of the run has finished; a line that is none is named and left out."""
    if not folder.metrics.is_file():
        return []
    rows, faults = read_rows(folder.metrics)
    if faults and is_first_rank():
        lines = ", ".join(f"{number} ({fault})" for number, fault in faults.items())
        warnings.warn(f"{folder.metrics}: lines that are no rows of metrics are left out: {lines}", stacklevel=2)
    return [row for row in rows if row["step"] <= done]


def open_loggers(folder: RunFolder, done: int, names: str | Sequence[str] = "tensorboard") -> list[Logger]:
    """CSV, and those of these names; of an earlier part of the run, the rows of its first `done` steps are kept."""
    table = MetricsFile(folder.metrics, kept_rows(folder, done))
    if done and is_first_rank():
        table.rewrite()
    return [MetricsTable(table), *open_trackers(names, folder, done)]


def _config(folder: RunFolder) -> dict[str, Any]:
    """What `create` wrote."""
    return read_yaml(folder.config) if folder.config.is_file() else {}


def _has_nothing_to_lose(folder: RunFolder) -> bool:
    """Whether a run ended before its first checkpoint; what was half-written counts for nothing."""
    whole = [p for p in folder.checkpoints.glob("*") if not p.name.startswith(".") and p.suffix != CHECKSUM]
    return not whole and not folder.model.exists() and not folder.strangers()


def _lock(file: IO[str]) -> bool:
    """Whether the lock was free; always, where files cannot be.  Children do not hold it, as they would a `flock`."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return True
    return True
