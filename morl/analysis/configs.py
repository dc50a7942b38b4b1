"""What the runs of a study have in common, and in what their lines differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from morl.analysis.runs import Run
from morl.errors import ConfigError

_OF_A_RUN = ("output", "policy.path", "policy.cache")
"""May differ within a line: where a run is kept, and the policy of its seed."""


@frozen
class Configs:
    """The settings of a study by dotted name; to lack a setting is the same as null.

    Args:
        common: those on which all lines agree.
        different: the others: name -> line -> value; a line that lacks the setting is absent.
        of_run: names of the settings that differ from run to run within a line, such as `seed`.
    """

    common: Mapping[str, Any]
    different: Mapping[str, Mapping[str, Any]]
    of_run: tuple[str, ...]


def compare_configs(lines: Mapping[str, Sequence[Run]]) -> Configs:
    """Splits the configs of all runs into what is common and what differs.

    Raises:
        ConfigError: two runs of a line differ by more than their seed.
    """
    flat = {line: [dict(flatten(run.config)) for run in runs] for line, runs in lines.items()}
    for line, runs in lines.items():
        _check_alike(line, runs, flat[line])
    names = list(dict.fromkeys(name for configs in flat.values() for config in configs for name in config))
    of_run = [name for name in names if any(_vary(configs, name) for configs in flat.values())]
    common, different = {}, {}
    for name in names:
        if name in of_run:
            continue
        values = {line: configs[0].get(name) for line, configs in flat.items()}
        first, *others = values.values()
        if all(other == first for other in others):
            common[name] = first
        else:
            different[name] = {line: value for line, value in values.items() if name in flat[line][0]}
    return Configs(common, different, tuple(of_run))


def unpaired_settings(first: Sequence[Run], second: Sequence[Run]) -> Iterator[tuple[int, str]]:
    """Seeds that two lines share without being a pair, with the setting that belongs to the seed and yet differs."""
    of_seed = {run.seed: dict(flatten(run.config)) for run in second}
    for run in first:
        theirs = of_seed.get(run.seed, {})
        for name, value in flatten(run.config):
            if _is_seed(name) and name in theirs and theirs[name] != value:
                yield run.seed, name


def flatten(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values; lists and empty mappings are values.

    >>> dict(flatten({"loss": {"name": "clipped", "stop": [], "lora": {}}}))
    {'loss.name': 'clipped', 'loss.stop': [], 'loss.lora': {}}
    """
    for key, value in tree.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{name}.")
        else:
            yield name, value


def _is_seed(name: str) -> bool:
    return name.rpartition(".")[2] == "seed"


def _vary(configs: Sequence[Mapping[str, Any]], name: str) -> bool:
    first, *others = (config.get(name) for config in configs)
    return any(other != first for other in others)


def _check_alike(line: str, runs: Sequence[Run], configs: Sequence[Mapping[str, Any]]) -> None:
    for run, config in zip(runs, configs, strict=True):
        for name in {**configs[0], **config}:
            old, new = configs[0].get(name), config.get(name)
            if old != new and not _is_seed(name) and name not in _OF_A_RUN:
                raise ConfigError(
                    f"the runs of line {line!r} have different settings: {name} is {old!r} in {runs[0].label.folder}"
                    f" and {new!r} in {run.label.folder}; runs of a line may differ by their seed only, so give the"
                    " others a line of their own"
                )
