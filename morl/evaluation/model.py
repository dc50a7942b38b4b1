"""Which model is meant."""

from __future__ import annotations

import time
from pathlib import Path

from morl.artifacts.exported import read_note
from morl.artifacts.folder import RunFolder, steps_in
from morl.errors import DataError, suggest
from morl.export.run import export_run, find_checkpoint, is_export_of
from morl.policy.folder import check_model


def find_model(name: str) -> str:
    """The model folder or hub name that somebody means by a model folder, a run folder or a hub name.

    Of a run folder that is its final model; of a run that has not ended, where `morl export` writes its newest
    checkpoint, which may still have to be done.

    Raises:
        DataError: a folder that does not exist (with near names), holds no complete model, or is that of a run without
            a model or checkpoint.
    """
    path = Path(name).expanduser()
    if not path.exists():
        # What lies in a folder that exists can only have been meant as a folder.
        if len(path.parts) > 1 and path.parent.is_dir():
            raise DataError(f"no model at {name!r}: the folder does not exist{near_folders(name)}")
        check_model(str(path))
        return name
    run = RunFolder(path)
    if run.config.is_file() and not (path / "config.json").exists():
        newest = newest_checkpoint(run)
        if newest is not None:
            return str(run.export(steps_in(newest)))
        path = run.model
        if not path.is_dir():
            raise DataError(f"the run in {name} has no model and no checkpoint yet; resume it: morl resume {name}")
    check_model(str(path))
    return str(path)


def newest_checkpoint(run: RunFolder) -> Path | None:
    """The newest sound checkpoint of a run; None where it has none, or its final model is newer."""
    checkpoints = run.complete_checkpoints()
    if not checkpoints:
        return None
    if run.model.is_dir():
        note = read_note(run.model)
        if note is None or note.step >= steps_in(checkpoints[-1]):
            return None
    return find_checkpoint(run, None)


def ready_model(name: str) -> str:
    """`find_model`, with the newest checkpoint of a run that has not ended exported into its folder.

    The first of several processes does that; the others wait for it.
    """
    run = RunFolder(Path(name).expanduser())
    newest = newest_checkpoint(run) if run.config.is_file() and not (run.path / "config.json").exists() else None
    if newest is None:
        return find_model(name)
    from morl.runtime.exchange import is_first_rank  # PyTorch, which errors need not wait for

    target = run.export(steps_in(newest))
    if is_first_rank():
        return str(export_run(run.path, step=steps_in(newest)))
    while not is_export_of(target, newest):
        time.sleep(0.5)
    return str(target)


def near_folders(name: str) -> str:
    """`"; did you mean 'x'?"` for a folder of a similar name in the same place, else an empty text."""
    path = Path(name).expanduser()
    if path.exists() or not path.parent.is_dir():
        return ""
    return suggest(path.name, (entry.name for entry in path.parent.iterdir() if entry.is_dir()))
