"""The Lightning trainer of a run, from the config's section `trainer` and the callbacks of both sides."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy

from morl.artifacts.folder import RunFolder
from morl.config.schema import Config, TrainerConfig
from morl.errors import ConfigError
from morl.runtime.trainer import make_trainer
from morl.training.callbacks import (
    Checkpoints,
    Evaluations,
    ExportModel,
    LiveDisplay,
    MetricsRows,
    SampleFiles,
    Stopping,
)
from morl.training.checkpoint_files import CheckpointFiles
from morl.training.run_folder import open_loggers


def build_trainer(
    config: Config,
    folder: RunFolder,
    evaluations: Evaluations | None,
    callbacks: Sequence[L.Callback],
    loggers: Sequence[Logger],
    done: int,
) -> L.Trainer:
    """The trainer of a run, with morl's callbacks around the user's.

    Raises:
        ConfigError: what Lightning refuses, such as devices that are not there.
    """
    training, options = config.training, config.trainer
    if any(isinstance(callback, EarlyStopping) for callback in callbacks):
        raise ConfigError(
            "EarlyStopping would have no effect: it decides at the end of an epoch, and a run is one epoch; use a"
            " callback that sets trainer.should_stop in on_train_batch_end"
        )
    # First what says that a step is done.
    own: list[L.Callback] = [Stopping(), MetricsRows(), *([LiveDisplay()] if options.progress else ())]
    own.append(SampleFiles(folder, training.samples_every))
    if evaluations is not None:
        own.append(evaluations)
    # The last to be called, so that what a checkpoint counts as done has been written down.
    last = [
        Checkpoints(folder, training.checkpoint_every, training.keep_checkpoints, training.checkpoint_minutes),
        ExportModel(folder),
    ]
    return make_trainer(
        options,
        _strategy(options),
        max_epochs=1,
        logger=[*open_loggers(folder, done), *loggers],
        callbacks=[*own, *callbacks, *last],
        plugins=[CheckpointFiles()],
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        # Lightning adds a ModelCheckpoint of its own where it is allowed to; morl's Checkpoints takes its place.
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
    )


def _strategy(options: TrainerConfig) -> str | Strategy:
    return ModelParallelStrategy() if options.strategy == "fsdp2" else options.strategy


def build_objects(specifications: Sequence[Mapping[str, Any]], path: str) -> list[Any]:
    """Instances of `{class_path: module.Class, init_args: {...}}`."""
    made = []
    for specification in specifications:
        unknown = set(specification) - {"class_path", "init_args"}
        if unknown or "class_path" not in specification:
            raise ConfigError(f"{path}: an entry has the keys class_path and init_args; got {dict(specification)}")
        module, _, name = specification["class_path"].rpartition(".")
        try:
            made.append(getattr(importlib.import_module(module), name)(**specification.get("init_args", {})))
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}: {specification['class_path']} cannot be made: {error}") from error
    return made
