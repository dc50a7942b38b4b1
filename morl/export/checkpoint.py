"""From a checkpoint to the policy that it holds."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load

from morl.artifacts.files import fault_of
from morl.config.schema import LoRA
from morl.errors import ConfigError, DataError
from morl.policy.adapters import with_adapters
from morl.policy.load import load_model
from morl.policy.model import PolicyModel
from morl.policy.options import PLAIN, Loading, Quantisation
from morl.policy.quantised import quantise
from morl.training.checkpoint_content import put_back_frozen
from morl.training.checkpoint_files import CLASSES, CheckpointFiles, fault_inside


def load_checkpoint_policy(
    checkpoint: Path,
    base: str,
    dtype: str,
    lora: LoRA | None,
    loading: Loading = PLAIN,
    quantisation: Quantisation | None = None,
) -> PolicyModel:
    """The policy of a checkpoint, on the CPU.

    Args:
        checkpoint: a file, or the folder of a sharded one, whose shards are joined.
        base: the model that the run began with, of which adapters need the weights.
        dtype: of the weights in training.
        lora: the adapters of the run.
        loading: how `base` is loaded.
        quantisation: of the weights under the adapters.

    Raises:
        DataError: it is damaged, or `base` cannot be loaded.
        ConfigError: `base` is another model.
    """
    if (fault := fault_of(checkpoint) or fault_inside(checkpoint)) is not None:
        raise DataError(f"{checkpoint} {fault}; export another step")
    model = load_model(base, dtype=dtype, loading=loading)
    if lora is not None and quantisation is not None:
        quantise(model, quantisation, lora)
    policy = PolicyModel(model if lora is None else with_adapters(model, lora), packed=False)
    whole = nn.ModuleDict({"policy": policy})  # as the weights are named in a checkpoint
    weights = whole.state_dict()
    if checkpoint.is_dir():
        _read_shards(checkpoint, weights)
        return policy
    with torch.serialization.safe_globals([*CLASSES]):
        content = CheckpointFiles().load_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    put_back_frozen(content, whole)
    found = {name: weight for name, weight in content["state_dict"].items() if name.startswith("policy.")}
    _check(checkpoint, base, {n: tuple(w.shape) for n, w in found.items()}, weights)
    whole.load_state_dict(found)
    return policy


def _read_shards(checkpoint: Path, weights: dict[str, Any]) -> None:
    """Reads the whole weights of a sharded checkpoint into those of the policy, in place."""
    reader = FileSystemReader(checkpoint)
    prefix = "state_dict."
    shapes = {
        name.removeprefix(prefix): tuple(entry.size)
        for name, entry in reader.read_metadata().state_dict_metadata.items()
        if name.startswith(f"{prefix}policy.") and hasattr(entry, "size")
    }
    _check(checkpoint, str(checkpoint), shapes, weights)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.distributed is disabled.*")  # which is what is asked for
        try:
            load({"state_dict": weights}, storage_reader=reader, no_dist=True)
        except CheckpointException as error:
            # Not in the words of PyTorch, which advise to read it without protection.
            kinds = ", ".join(sorted({type(failure[0]).__name__ for failure in error.failures.values()}))
            raise DataError(
                f"{checkpoint} cannot be read, its shards are damaged ({kinds}); export another step"
            ) from error


def _check(checkpoint: Path, base: str, found: dict[str, tuple[int, ...]], weights: dict[str, Any]) -> None:
    """Refuses weights that are not those of the model that they are to go into."""
    wanted = {name: tuple(weight.shape) for name, weight in weights.items()}
    if found != wanted:
        differ = sorted(n for n in {*found, *wanted} if found.get(n) != wanted.get(n))
        raise ConfigError(
            f"{checkpoint} does not hold the weights of {base}: {len(differ)} differ in name or shape, the first"
            f" {differ[0].removeprefix('policy.model.')!r}; give the model that the run began with: --policy.path="
        )
