"""The Lightning trainer of a run, from the config's section `trainer` and the callbacks of both sides."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import lightning.pytorch as L
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy

from morl.artifacts.folder import RunFolder
from morl.artifacts.metrics import HELD_OUT
from morl.config.schema import Config, TrainerConfig
from morl.config.secrets import with_secrets, without_secrets
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
    Watch,
)
from morl.training.checkpoint_files import CheckpointFiles
from morl.training.run_folder import open_loggers

T = TypeVar("T")


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
    _check_callbacks(callbacks, evaluations is not None)
    # First what says that a step is done.
    own: list[L.Callback] = [Stopping(), MetricsRows(), *([LiveDisplay()] if options.progress else ()), Watch()]
    own.append(SampleFiles(folder, training.samples_every, training.samples_limit))
    if evaluations is not None:
        own.append(evaluations)
    # The last to be called, so that what a checkpoint counts as done has been written down.
    last = [
        ExportModel(folder, training.export_every, training.keep_best, evaluations, training.push_to_hub),
        Checkpoints(folder, training.checkpoint_every, training.keep_checkpoints, training.checkpoint_minutes),
    ]
    return make_trainer(
        options,
        _strategy(options),
        max_epochs=1,
        logger=[*open_loggers(folder, done, options.logger), *loggers],
        callbacks=[*own, *callbacks, *last],
        plugins=[CheckpointFiles()],
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        # Lightning adds a ModelCheckpoint of its own where it is allowed to; morl's Checkpoints takes its place.
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
    )


def _check_callbacks(callbacks: Sequence[L.Callback], evaluated: bool) -> None:
    """Refuses what would do nothing, or something else, in a run that is one epoch and validates by its own means."""
    for callback in callbacks:
        if isinstance(callback, EarlyStopping):
            held_out = HELD_OUT.of("")
            if not (evaluated and callback.monitor.startswith(held_out)):
                raise ConfigError(
                    f"EarlyStopping follows held-out rewards here: set its monitor to {held_out}<reward> (it is"
                    f" {callback.monitor}), and evaluation.every"
                )
            if callback._check_on_train_epoch_end is not False:
                raise ConfigError(
                    "EarlyStopping would have no effect: it decides at the end of an epoch, and a run is one epoch; set"
                    " check_on_train_epoch_end: false, so that it decides after every evaluation"
                )
        if isinstance(callback, (WeightAveraging, StochasticWeightAveraging)):
            raise ConfigError(
                f"{type(callback).__name__} would average the counters of the run with the weights, and what samples"
                " would not be what is trained; average exported models in place of it (training.export_every)"
            )


def _strategy(options: TrainerConfig) -> str | Strategy:
    return ModelParallelStrategy() if options.strategy == "fsdp2" else options.strategy


def build_objects(specifications: Sequence[Mapping[str, Any]], path: str, kind: type[T]) -> list[T]:
    """Instances of `{class_path: module.Class, init_args: {...}}`, classes of one kind only.

    Raises:
        ConfigError: another form, a class that is not there, is of another kind or refuses its arguments.
    """
    return [_build_object(specification, f"{path}[{n}]", kind) for n, specification in enumerate(specifications)]


def _build_object(specification: Mapping[str, Any], path: str, kind: type[T]) -> T:
    unknown = set(specification) - {"class_path", "init_args"}
    class_path, arguments = specification.get("class_path"), specification.get("init_args") or {}
    if unknown or not isinstance(class_path, str) or not isinstance(arguments, Mapping):
        raise ConfigError(f"{path}: an entry has the keys class_path and init_args; got {dict(specification)}")
    module, _, name = class_path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{path}: {class_path} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise ConfigError(
            f"{path}: class_path must name a class derived from {kind.__module__}.{kind.__name__}; {class_path} is none"
        )
    try:
        return found(**with_secrets(arguments, path))
    except (TypeError, ValueError, ModuleNotFoundError) as error:
        message = without_secrets(str(error), arguments)
        raise ConfigError(f"{path}: {class_path} cannot be made: {message}") from error
