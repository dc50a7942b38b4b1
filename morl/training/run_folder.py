"""The run folder at the start of a run: refused, made, taken back, or found fit to be resumed."""

from __future__ import annotations

import csv
import json
import platform
import shutil
import warnings
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from morl.artifacts.files import write_text
from morl.artifacts.folder import RunFolder, steps_in
from morl.config import yaml12
from morl.errors import ConfigError
from morl.runtime.exchange import is_first_rank

_LIBRARIES = ("torch", "transformers", "lightning")
_RESTORED = {
    "policy": ("gradient_checkpointing", "attention"),
    "optimizer": ("max_grad_norm", "schedule", "warmup_steps"),
}
"""Sections that a checkpoint brings with it, so that other values would have no effect -> keys that have one."""


def check_new(folder: RunFolder) -> None:
    """Refuses a folder that holds something, so that no run is overwritten.

    Raises:
        ConfigError: names the folder and the two ways out.
    """
    if not is_first_rank():
        return  # The first rank may have created it by now.
    if folder.path.is_file():
        raise ConfigError(f"output: {folder.path} is a file; name a folder")
    if folder.path.is_dir() and any(folder.path.iterdir()):
        is_run = folder.config.exists()
        holds = "another run" if is_run else "other files"
        way_out = f", or resume that run: morl resume {folder.path}" if is_run else ""
        raise ConfigError(f"output: {folder.path} holds {holds}; choose a new folder with --output=FOLDER{way_out}")


def create(folder: RunFolder, config: Mapping[str, Any], plugins: Mapping[str, str]) -> None:
    """Makes the folder and writes down the config and the versions."""
    if not is_first_rank():
        return
    folder.path.mkdir(parents=True, exist_ok=True)
    write_text(folder.config, yaml.safe_dump(dict(config), sort_keys=False))
    environment = {
        "python": platform.python_version(),
        "plugins": dict(plugins),
        "libraries": {name: version(name) for name in _LIBRARIES},
    }
    write_text(folder.environment, json.dumps(environment, indent=2) + "\n")


def discard(folder: RunFolder) -> None:
    """Takes back `create` and what loggers have begun, for a run that ended before its first step."""
    if not is_first_rank():
        return
    for path in (folder.config, folder.environment):
        path.unlink(missing_ok=True)
    for path in (folder.logs, folder.tensorboard):
        shutil.rmtree(path, ignore_errors=True)
    # Only if nothing else is there: a plugin's own files, say.
    with suppress(OSError):
        folder.path.rmdir()


def check_resumable(folder: RunFolder, config: Mapping[str, Any]) -> Path:
    """The newest checkpoint, if a run with this config can be resumed from it.

    Raises:
        ConfigError: no checkpoint, no steps left, or settings changed that a checkpoint brings with it.
    """
    checkpoint = folder.latest_checkpoint()
    done, steps = steps_in(checkpoint), config["training"]["steps"]
    if done > steps or (done == steps and folder.model.is_dir()):
        raise ConfigError(
            f"{folder.path} has finished its {done} steps; to continue, give it more: --training.steps={2 * done}"
        )
    before = yaml12.load(folder.config.read_text(encoding="utf-8")) if folder.config.is_file() else {}
    for section, free in _RESTORED.items():
        old, new = before.get(section) or {}, config[section]
        changed = [key for key in new if key in old and old[key] != new[key] and key not in free]
        if changed:
            raise ConfigError(
                f"{section}.{changed[0]} cannot change from {old[changed[0]]!r} to {new[changed[0]]!r} in a resumed"
                f" run, whose checkpoint restores it; start a new run from its weights: --policy.path={folder.model}"
            )
    return checkpoint


def open_loggers(folder: RunFolder, first_step: int) -> list[Logger]:
    """CSV and TensorBoard; of an earlier part of the run, the rows before `first_step` are kept."""
    kept = []
    if folder.metrics.is_file() and is_first_rank():
        with folder.metrics.open(newline="") as file:
            rows = csv.DictReader(file)
            kept = [{k: v for k, v in row.items() if v} for row in rows if int(row["step"]) < first_step]
    with warnings.catch_warnings():
        # Lightning announces that it deletes the file of the earlier part; its rows are written again here.
        warnings.filterwarnings("ignore", ".*exists and is not empty.*")
        table = CSVLogger(folder.path, name=folder.logs.name, version="", flush_logs_every_n_steps=1)
        if kept:
            table.experiment.metrics.extend(kept)
            table.save()
    board = TensorBoardLogger(folder.path, name=folder.tensorboard.name, version="", purge_step=first_step)
    return [table, board]
