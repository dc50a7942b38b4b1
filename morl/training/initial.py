"""The evaluation of the initial policy that another run has made already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from morl.artifacts.evaluations import read_evaluations
from morl.artifacts.folder import RunFolder
from morl.config.load import read_yaml
from morl.config.record import is_description
from morl.errors import ConfigError

_KEY = "evaluation.initial"
_LEFT_OUT = {
    "policy": {"gradient_checkpointing", "router_loss_coef"},
    "rollout": {"lag", "max_logprob_difference"},
    "evaluation": {"every", "initial"},
    "environment": {"weight", "max_failed_steps"},
}
"""What says nothing about how the initial policy is sampled and scored, by section."""
_OF_REWARDS = {"weight", "max_failed_steps"}


def initial_evaluation(path: str, resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The row of `evaluation.json` that another run's folder has for its initial policy.

    Args:
        path: of the folder.
        resolved: the config of this run, as its folder holds it.

    Raises:
        ConfigError: there is no such evaluation, or the two configs sample or score the initial policy otherwise, or
            hold objects, which cannot be compared.
    """
    folder = RunFolder(Path(path))
    if not folder.config.is_file() or not folder.evaluation.is_file():
        raise ConfigError(
            f"{_KEY}: {path} is not the folder of a run with evaluations; give one, or true, which evaluates the"
            " initial policy, or false, which does not"
        )
    mine, theirs = dict(_leaves(_relevant(resolved))), dict(_leaves(_relevant(read_yaml(folder.config))))
    objects = sorted(key for key, value in {**theirs, **mine}.items() if is_description(value))
    if objects:
        raise ConfigError(
            f"{_KEY}: {objects[0]} is an object that was passed from Python, so whether {path} evaluated the same"
            " cannot be told; set it to true"
        )
    differ = [key for key in sorted({*mine, *theirs}) if mine.get(key) != theirs.get(key)]
    if differ:
        key = differ[0]
        more = f", and {len(differ) - 1} more keys differ" if differ[1:] else ""
        raise ConfigError(
            f"{_KEY}: {path} evaluated another thing: its {key} is {theirs.get(key)!r}, here it is {mine.get(key)!r}"
            f"{more}; set it to true"
        )
    try:
        (row,) = (row for row in read_evaluations(folder.evaluation) if row["step"] == 0)
        return {key: value for key, value in row.items() if key != "step"}
    except ValueError as error:
        raise ConfigError(
            f"{_KEY}: {folder.evaluation} has no evaluation of the initial policy; set it to true"
        ) from error


def _relevant(tree: Mapping[str, Any]) -> dict[str, Any]:
    """What the figures of the initial policy depend on."""
    kept: dict[str, Any] = {"seed": tree.get("seed")}
    for section in ("policy", "sampling", "environment", "rollout", "evaluation"):
        if values := tree.get(section):
            kept[section] = {key: value for key, value in values.items() if key not in _LEFT_OUT.get(section, ())}
    for name, entry in (tree.get("rewards") or {}).items():
        values = entry if isinstance(entry, Mapping) else {"": entry}
        kept[f"rewards.{name}"] = {key: value for key, value in values.items() if key not in _OF_REWARDS}
    kept["trainer"] = {"precision": (tree.get("trainer") or {}).get("precision")}
    return kept


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
