"""Arms whose settings a tuning grid chose, and what went into the choice: no study of them may have any of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import frozen

from morl.compare.grid import Settings
from morl.config import read_yaml
from morl.errors import ConfigError


@frozen
class Tuned:
    """What a tuning grid has left.

    Attributes:
        path: of its file.
        arms: label -> settings, the chosen values among them.
        seeds: of the grid.
        prompts: fingerprints of all of its prompts, trained on or held out.
    """

    path: Path
    arms: Mapping[str, Settings]
    seeds: frozenset[int]
    prompts: frozenset[str]

    def check_seeds(self, seeds: Iterable[int]) -> None:
        """Refuses seeds of the tuning grid.

        Raises:
            ConfigError: names them.
        """
        shared = sorted(self.seeds & set(seeds))
        if shared:
            raise ConfigError(
                f"--seeds: {', '.join(map(str, shared))} took part in the choice of settings in {self.path}; a study of"
                " tuned arms needs other seeds"
            )

    def check_prompts(self, name: object, prompts: frozenset[str]) -> None:
        """Refuses prompts of the tuning grid.

        Raises:
            ConfigError: says how many of a run's there are.
        """
        shared = len(prompts & self.prompts)
        if shared:
            raise ConfigError(
                f"{name}: {shared} of its {len(prompts)} prompts took part in the choice of settings in {self.path};"
                " tune on prompts that the study neither trains on nor holds out"
            )


def read_tuned(path: Path) -> Tuned:
    """What `write_tuned` wrote.

    Raises:
        ConfigError: no such file, or not one of a tuning grid.
    """
    tree = read_yaml(path)
    try:
        arms = {str(label): dict(arm["settings"]) for label, arm in tree["arms"].items()}
        return Tuned(path, arms, frozenset(map(int, tree["seeds"])), frozenset(map(str, tree["prompts"])))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"--tuned: {path} is not the tuned.yaml of a tuning grid: {error!r}") from None
