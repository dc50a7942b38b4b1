"""What can be known to be wrong with the loss and what belongs to it, before any data or model is loaded."""

from __future__ import annotations

from typing import get_args

from morl.config.schema import Config
from morl.errors import ConfigError, PluginError
from morl.runtime.parts import Parts
from morl.types import Aggregation


def check_update(config: Config, parts: Parts) -> None:
    """Refuses settings of the update that cannot work together, or have no effect.

    Raises:
        ConfigError: says which keys, and how to mend them.
        PluginError: a loss that breaks the contract.
    """
    _check_loss(config, parts)


def _check_loss(config: Config, parts: Parts) -> None:
    loss = parts.loss
    if not callable(loss.aggregation) and loss.aggregation not in get_args(Aggregation):
        raise PluginError(
            f"policy loss {config.loss.name!r} asks for the unknown aggregation {loss.aggregation!r}; known:"
            f" {', '.join(get_args(Aggregation))}, or a function of lengths and max_tokens"
        )
    share = getattr(loss, "top_entropy", 1.0)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise PluginError(
            f"policy loss {config.loss.name!r} has top_entropy={share!r}; expected a share above 0 and at most 1"
        )
    if getattr(loss, "corrects_importance", False) and config.importance.correction in ("truncated", "masked"):
        raise ConfigError(
            f"importance.correction={config.importance.correction} has no effect: the loss {config.loss.name} weighs"
            " completions by the ratio to the rollout policy itself; leave it out"
        )
