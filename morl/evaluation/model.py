"""Which model is meant."""

from __future__ import annotations

from pathlib import Path

from morl.errors import DataError, suggest
from morl.policy.folder import check_model

_RUN, _EXPORT = "config.yaml", "model"


def find_model(name: str) -> str:
    """The model folder or hub name that somebody means by a model folder, a run folder or a hub name.

    Raises:
        DataError: a folder that does not exist (with near names), holds no whole model, or is that of a run which has
            not written its model yet.
    """
    path = Path(name).expanduser()
    if not path.exists():
        _check_hub_name(name, path)
        return name
    if (path / _RUN).is_file() and not (path / "config.json").exists():
        if not (path / _EXPORT).is_dir():
            raise DataError(
                f"the run in {name} has not written its model yet, which it does at its end;"
                f" go on with it: morl resume {name}"
            )
        path /= _EXPORT
    check_model(str(path))
    return str(path)


def _check_hub_name(name: str, path: Path) -> None:
    """Refuses what can only have been meant as a folder, since its parent folder exists."""
    parent = path.parent
    if len(path.parts) != 1 and parent.is_dir():
        near = suggest(path.name, (entry.name for entry in parent.iterdir() if entry.is_dir()))
        raise DataError(f"no model at {name!r}: the folder does not exist{near}")
    try:
        check_model(str(path))
    except DataError as error:
        siblings = (entry.name for entry in Path().iterdir() if entry.is_dir())
        raise DataError(f"{error}{suggest(path.parts[0] if path.parts else '', siblings)}") from error
