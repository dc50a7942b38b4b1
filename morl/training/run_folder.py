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
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from morl.errors import ConfigError
from morl.training.exchange import is_first_rank

_LIBRARIES = ("torch", "transformers", "lightning")


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
        self.config.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
        environment = {
            "python": platform.python_version(),
            "plugins": dict(plugins),
            "libraries": {name: version(name) for name in _LIBRARIES},
        }
        (self.path / "environment.json").write_text(json.dumps(environment, indent=2) + "\n", encoding="utf-8")

    def latest_checkpoint(self) -> Path:
        """The newest checkpoint.

        Raises:
            ConfigError: there is none.
        """
        found = sorted(self.checkpoints.glob("step-*.ckpt"))
        if not found:
            raise ConfigError(
                f"{self.path} has no checkpoint to go on from; start anew with `morl train {self.config}`"
            )
        return found[-1]

    def loggers(self, first_step: int) -> list[Logger]:
        """CSV and TensorBoard; of an earlier part of the run, the rows before `first_step` are kept."""
        kept = []
        if self.metrics.is_file():
            with self.metrics.open(newline="") as file:
                rows = csv.DictReader(file)
                kept = [{k: v for k, v in row.items() if v} for row in rows if int(row["step"]) < first_step]
        with warnings.catch_warnings():
            # Lightning announces that it deletes the file of the earlier part; its rows are written again here.
            warnings.filterwarnings("ignore", ".*exists and is not empty.*")
            table = CSVLogger(self.path, name="logs", version="", flush_logs_every_n_steps=1)
            if is_first_rank():
                table.experiment.metrics.extend(kept)
        return [table, TensorBoardLogger(self.path, name="tensorboard", version="", purge_step=first_step)]
