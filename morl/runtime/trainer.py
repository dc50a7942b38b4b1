"""Lightning's trainer from the config's section `trainer`."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies import Strategy

from morl.config.schema import TrainerConfig
from morl.errors import ConfigError


def make_trainer(options: TrainerConfig, strategy: str | Strategy, **arguments: Any) -> L.Trainer:
    """A trainer on the devices of `options`, with further arguments of Lightning's.

    Raises:
        ConfigError: what Lightning refuses, such as devices that are not there.
    """
    try:
        return L.Trainer(
            accelerator=options.accelerator,
            devices=options.devices,
            num_nodes=options.num_nodes,
            strategy=strategy,
            precision=options.precision,  # type: ignore[arg-type]
            deterministic=options.deterministic,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            **arguments,
        )
    except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
        asked = f"accelerator: {options.accelerator}, devices: {options.devices}, precision: {options.precision}"
        raise ConfigError(f"trainer: {error} ({asked})") from error
