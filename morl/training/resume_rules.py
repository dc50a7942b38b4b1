"""What a resumed run may change, and what it may not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from morl.artifacts.folder import RunFolder
from morl.errors import ConfigError

Changes: TypeAlias = dict[str, tuple[Any, Any]]
"""Dotted key -> value before and after; a key that was not there is None."""

RESTORED = {
    "policy": ("gradient_checkpointing", "attention"),
    "optimizer": ("max_grad_norm", "schedule", "warmup_steps", "warmup_ratio", "min_lr"),
}
"""Sections that a checkpoint brings with it, so that other values would have no effect -> keys that have one."""

DRAWN_AHEAD = (
    *("seed", "prompts", "environment", "rollout", "sampling"),
    *("training.prompts_per_step", "training.group_size"),
)
"""What the batches that a lagging run has drawn ahead were drawn with, and what says how many there are."""


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    """Keys of two resolved configs that differ, `output` apart; what an older version of morl did not know is left."""
    old, new = _flat(before), _flat(after)
    own = {key.split(".")[0] for key in old}
    # Parts that are others than before, whose options are not those of the former ones.
    exchanged = {key.removesuffix("name") for key in new if key.endswith(".name") and old.get(key) != new[key]}
    differ = {}
    for key in dict.fromkeys((*old, *new)):
        section = key.split(".")[0]
        # A section that is not there is one that an older version did not know, but for that which may be missing.
        optional = section in ("environment", "evaluation", "rewards")
        known = _is_in(key, old) or section == "rewards" or (section not in own and optional)
        known = known or any(key.startswith(part) for part in exchanged)
        if key != "output" and known and old.get(key) != new.get(key):
            differ[key] = (old.get(key), new.get(key))
    return differ


def _is_in(key: str, flat: Mapping[str, Any]) -> bool:
    """Whether a key, or a mapping around it that was null, is there."""
    parts = key.split(".")
    return any(".".join(parts[:count]) in flat for count in range(len(parts), 0, -1))


def check_changes(differ: Changes, before: Mapping[str, Any], after: Mapping[str, Any], folder: RunFolder) -> None:
    """Refuses what would have no effect, or would not fit what the checkpoint holds.

    Raises:
        ConfigError: names the key and both values, and what to do in place of it.
    """
    lags = any((config.get("rollout") or {}).get("lag") for config in (before, after))
    for key, (old, new) in differ.items():
        section, _, rest = key.partition(".")
        reason = None
        if section in RESTORED and not rest.startswith(RESTORED[section]):
            reason = "in a resumed run, whose checkpoint restores it"
        elif lags and any(key == fixed or key.startswith(f"{fixed}.") for fixed in DRAWN_AHEAD):
            reason = "in a resumed run with rollout.lag, whose checkpoint holds batches that were drawn with it"
        elif key == "entropy.coef" and all((config.get("entropy") or {}).get("target") for config in (before, after)):
            reason = "in a resumed run with entropy.target, whose checkpoint holds the coefficient"
        elif key == "trainer.strategy" and "fsdp2" in (old, new):
            reason = "in a resumed run, for a checkpoint is either sharded or not"
        if reason:
            raise ConfigError(f"{key} cannot change from {old!r} to {new!r} {reason}; {_way_out(folder)}")


def _way_out(folder: RunFolder) -> str:
    if folder.model.is_dir():
        return (
            "start a new run from its weights: morl train CONFIG --output=FOLDER"
            f" --policy='{{name: pretrained, path: {folder.model}}}'"
        )
    return (
        f"leave it as it was, or let the run end first (--training.steps=N ends it early), which writes {folder.model},"
        " and start a new run from these weights"
    )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names of all values that are no mappings, or empty ones; null is a value, unlike a key that is missing."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
