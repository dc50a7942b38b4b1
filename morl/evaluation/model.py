"""Which model is meant."""

from __future__ import annotations

from pathlib import Path

from morl.artifacts.folder import RunFolder
from morl.errors import DataError, suggest
from morl.policy.folder import check_model


def find_model(name: str) -> str:
    """The model folder or hub name that somebody means by a model folder, a run folder or a hub name.

    Raises:
        DataError: a folder that does not exist (with near names), holds no complete model, or is that of a run which
            has not written its model yet.
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
        if not run.model.is_dir():
            raise DataError(
                f"the run in {name} has not written its model yet, which it does at its end;"
                f" resume it: morl resume {name}"
            )
        path = run.model
    check_model(str(path))
    return str(path)


def near_folders(name: str) -> str:
    """`"; did you mean 'x'?"` for a folder of a similar name in the same place, else an empty text."""
    path = Path(name).expanduser()
    if path.exists() or not path.parent.is_dir():
        return ""
    return suggest(path.name, (entry.name for entry in path.parent.iterdir() if entry.is_dir()))
