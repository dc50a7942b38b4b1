"""The folder of one run: everything needed to understand it, reload its model or go on with it.

config.yaml          the resolved config
environment.json     versions of morl, its plugins and the libraries below them
logs/metrics.csv     every metric of every step
tensorboard/         the same for TensorBoard
samples/             completions with rewards, contributions and advantages, JSON Lines by step
evaluation.json      rewards on the held-out prompts, by step
checkpoints/         Lightning checkpoints, the newest last
model/               the final policy and its tokenizer, in Hugging Face form
"""

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
from attrs import frozen
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from morl.artifacts.files import write_text
from morl.config import yaml12
from morl.errors import ConfigError
from morl.runtime.exchange import is_first_rank

_LIBRARIES = ("torch", "transformers", "lightning")
_RESTORED = {
    "policy": ("gradient_checkpointing", "attention"),
    "optimizer": ("max_grad_norm", "schedule", "warmup_steps"),
}
"""Sections that a checkpoint brings with it, so that other values would have no effect -> keys that have one."""


def steps_in(checkpoint: Path | None) -> int:
    """Finished steps of a checkpoint, by its name; 0 for none."""
    return int(checkpoint.stem.removeprefix("step-")) if checkpoint is not None else 0


def _is_whole(checkpoint: Path) -> bool:
    """Sharded checkpoints are folders, and whole when Lightning has written their metadata, which it does last."""
    return checkpoint.is_file() or (checkpoint / "meta.pt").is_file()


@frozen
class RunFolder:
    """Paths of a run."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation.json"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def metrics(self) -> Path:
        return self.path / "logs" / "metrics.csv"

    def check_new(self) -> None:
        """Refuses a folder that holds something, so that no run is overwritten.

        Raises:
            ConfigError: names the folder and the two ways out.
        """
        if not is_first_rank():
            return  # The first rank may have created it by now.
        if self.path.is_file():
            raise ConfigError(f"output: {self.path} is a file; name a folder")
        if self.path.is_dir() and any(self.path.iterdir()):
            holds = "another run" if self.config.exists() else "other files"
            way_out = f", or go on with that run: morl resume {self.path}" if self.config.exists() else ""
            raise ConfigError(f"output: {self.path} holds {holds}; choose a new folder with --output=FOLDER{way_out}")

    def create(self, config: Mapping[str, Any], plugins: Mapping[str, str]) -> None:
        """Makes the folder and writes down the config and the versions."""
        if not is_first_rank():
            return
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.config, yaml.safe_dump(dict(config), sort_keys=False))
        environment = {
            "python": platform.python_version(),
            "plugins": dict(plugins),
            "libraries": {name: version(name) for name in _LIBRARIES},
        }
        write_text(self.path / "environment.json", json.dumps(environment, indent=2) + "\n")

    def discard(self) -> None:
        """Takes back `create` and what loggers have begun, for a run that ended before its first step."""
        if not is_first_rank():
            return
        for path in (self.config, self.path / "environment.json"):
            path.unlink(missing_ok=True)
        for path in (self.metrics.parent, self.path / "tensorboard"):
            shutil.rmtree(path, ignore_errors=True)
        # Only if nothing else is there: a plugin's own files, say.
        with suppress(OSError):
            self.path.rmdir()

    def check_resumable(self, config: Mapping[str, Any]) -> Path:
        """The newest checkpoint, if a run with this config can go on from it.

        Raises:
            ConfigError: no checkpoint, no steps left, or settings changed that a checkpoint brings with it.
        """
        checkpoint = self.latest_checkpoint()
        done, steps = steps_in(checkpoint), config["training"]["steps"]
        if done > steps or (done == steps and self.model.is_dir()):
            raise ConfigError(
                f"{self.path} has finished its {done} steps; to go on, give it more: --training.steps={2 * done}"
            )
        before = yaml12.load(self.config.read_text(encoding="utf-8")) if self.config.is_file() else {}
        for section, free in _RESTORED.items():
            old, new = before.get(section) or {}, config[section]
            changed = [key for key in new if key in old and old[key] != new[key] and key not in free]
            if changed:
                raise ConfigError(
                    f"{section}.{changed[0]} cannot change from {old[changed[0]]!r} to {new[changed[0]]!r} in a resumed"
                    f" run, whose checkpoint restores it; start a new run from its weights: --policy.path={self.model}"
                )
        return checkpoint

    def latest_checkpoint(self) -> Path:
        """The newest checkpoint.

        Raises:
            ConfigError: there is none.
        """
        found = [path for path in sorted(self.checkpoints.glob("step-*.ckpt")) if _is_whole(path)]
        if not found:
            raise ConfigError(
                f"{self.path} has no checkpoint to go on from; start anew in another folder:"
                f" morl train {self.config} --output=FOLDER"
            )
        return found[-1]

    def loggers(self, first_step: int) -> list[Logger]:
        """CSV and TensorBoard; of an earlier part of the run, the rows before `first_step` are kept."""
        kept = []
        if self.metrics.is_file() and is_first_rank():
            with self.metrics.open(newline="") as file:
                rows = csv.DictReader(file)
                kept = [{k: v for k, v in row.items() if v} for row in rows if int(row["step"]) < first_step]
        with warnings.catch_warnings():
            # Lightning announces that it deletes the file of the earlier part; its rows are written again here.
            warnings.filterwarnings("ignore", ".*exists and is not empty.*")
            table = CSVLogger(self.path, name="logs", version="", flush_logs_every_n_steps=1)
            if kept:
                table.experiment.metrics.extend(kept)
                table.save()
        return [table, TensorBoardLogger(self.path, name="tensorboard", version="", purge_step=first_step)]
