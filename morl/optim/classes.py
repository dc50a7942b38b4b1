"""Optimizers that others wrote, by the path of their class."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from attrs import field, frozen
from torch import nn
from torch.optim import Optimizer

from morl.errors import ConfigError, suggest

_MORLS = ("params", "lr")
"""Arguments that morl itself gives."""

ON_SHARDS = ("ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "SGD")
"""Optimizers of torch that treat every weight alone, and can step on the share of a tensor that a rank has."""


@frozen
class TorchOptimizer:
    """An optimizer of `torch.optim`, or any subclass of `torch.optim.Optimizer`, by its class.

    Args:
        class_path: a class of `torch.optim` by its name (`SGD`), or any by its path (`package.module.Class`).
        init_args: its options; the learning rate is `optimizer.lr`.

    Raises:
        ConfigError: a class that is not there, is no optimizer, refuses its options, or cannot train any policy.
    """

    class_path: str
    init_args: Mapping[str, Any] = field(factory=dict)
    _class: type[Optimizer] = field(init=False)

    def __attrs_post_init__(self) -> None:
        found = _find(self.class_path)
        _check_arguments(found, self.class_path, self.init_args)
        if found.__module__.startswith("torch.optim"):
            _try(found, self.class_path, self.init_args)
        object.__setattr__(self, "_class", found)

    @property
    def sharded(self) -> bool:
        """Whether it is known to step on sharded weights; see `morl.hookspecs.OptimizerBuilder`."""
        return self._class.__module__.startswith("torch.optim") and self._class.__name__ in ON_SHARDS

    def __call__(self, parameters: Sequence[tuple[str, nn.Parameter]], lr: float) -> Optimizer:
        return _make(self._class, [tensor for _, tensor in parameters], lr, self.init_args)


def _find(path: str) -> type[Optimizer]:
    module, _, name = path.rpartition(".")
    module = module or "torch.optim"
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        known = [each for each in dir(torch.optim) if inspect.isclass(getattr(torch.optim, each))]
        hint = suggest(name, known) if module == "torch.optim" else ""
        raise ConfigError(f"class_path: {path} cannot be imported: {error}{hint}") from error
    if not (inspect.isclass(found) and issubclass(found, Optimizer) and found is not Optimizer):
        raise ConfigError(f"class_path must name a class derived from torch.optim.Optimizer; {path} is none")
    return found


def _check_arguments(found: type[Optimizer], path: str, arguments: Mapping[str, Any]) -> None:
    for name in _MORLS:
        if name in arguments:
            raise ConfigError(f"init_args.{name}: morl gives it; the learning rate is optimizer.lr")
    parameters = inspect.signature(found).parameters
    if "lr" not in parameters:
        raise ConfigError(f"class_path: {path} takes no argument lr, which morl's schedules set")
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = [name for name in parameters if name not in _MORLS]
    for name in arguments:
        if name not in known:
            raise ConfigError(
                f"init_args.{name}: {path} takes no such option{suggest(name, known)}: {', '.join(known)}"
            )


def _try(found: type[Optimizer], path: str, arguments: Mapping[str, Any]) -> None:
    """One step on a matrix and a vector: some need a closure, sparse gradients, or matrices only."""
    toy = [nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))]
    for tensor in toy:
        tensor.grad = torch.full_like(tensor, 0.5)
    optimizer = _make(found, toy, 1e-3, {name: value for name, value in arguments.items() if name != "fused"})
    try:
        optimizer.step()
    except Exception as error:
        raise ConfigError(f"class_path: {path} cannot train a policy: {error}") from error


def _make(
    found: type[Optimizer], tensors: Sequence[nn.Parameter], lr: float, arguments: Mapping[str, Any]
) -> Optimizer:
    # What YAML has as lists are tuples in the signatures.
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()
    }
    try:
        return found([*tensors], **{"lr": lr, **given})
    except (TypeError, ValueError, RuntimeError) as error:
        muon = "; the optimizer `muon` takes the rest by AdamW" if found.__name__ == "Muon" else ""
        raise ConfigError(f"{found.__name__} cannot be made: {error}{muon}") from error
