"""The grid: arms x varied settings x seeds, each cell with the settings that make it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from attrs import frozen

from morl.config import merge, read_yaml
from morl.config.yaml12 import load as load_yaml
from morl.errors import ConfigError

Settings: TypeAlias = Mapping[str, Any]
"""Dotted keys, or names of sections, and their values."""


@frozen
class Cell:
    """One run of the study.

    Attributes:
        arm: label of the arm.
        varied: dotted key -> value of the settings that are varied.
        seed: of the run.
        changes: everything that the cell sets on top of the shared config, in the order in which it is set.
        line: arm and varied settings; the cells of one line differ in their seed only.
        slug: name of its folder.
    """

    arm: str
    varied: Settings
    seed: int
    changes: Settings
    line: str
    slug: str

    def __str__(self) -> str:
        return f"{self.line}, seed {self.seed}"

    def apply(self, tree: Settings) -> dict[str, Any]:
        """The config with the cell's changes, each of which does what `--key=value` does on the command line.

        Raises:
            ConfigError: a key that reaches into a value that has no keys.
        """
        # JSON is YAML, and a value of a YAML file has a JSON form, but for dates, which no setting is.
        return merge(tree, [f"--{key}={json.dumps(value, default=str)}" for key, value in self.changes.items()])


@frozen
class Grid:
    """What a study compares.

    Attributes:
        arms: label -> settings.
        vary: dotted key -> values.
        seeds: of the cells.
        seed_also: keys besides `seed` that take the seed.
        tune: those of the keys of `vary` whose best values are to be found.
    """

    arms: Mapping[str, Settings]
    vary: Mapping[str, Sequence[Any]]
    seeds: Sequence[int]
    seed_also: Sequence[str] = ()
    tune: Sequence[str] = ()

    def cells(self) -> list[Cell]:
        """All cells; one seed after the other, so that what is done early can be compared already.

        Raises:
            ConfigError: nothing to run, a setting that another one would undo, folders of the same name.
        """
        self._check()
        cells = [
            self._cell(arm, dict(zip(self.vary, values, strict=True)), seed)
            for seed in self.seeds
            for values in itertools.product(*self.vary.values())
            for arm in self.arms
        ]
        by_slug: dict[str, Cell] = {}
        for cell in cells:
            other = by_slug.setdefault(cell.slug, cell)
            if other is not cell:
                raise ConfigError(
                    f"'{other}' and '{cell}' would share the folder {cell.slug!r}; rename an arm so that letters or"
                    " digits tell them apart"
                )
        return cells

    def _cell(self, arm: str, varied: Settings, seed: int) -> Cell:
        line = ", ".join([arm, *(f"{short_key(key, self.vary)}={_text(value)}" for key, value in varied.items())])
        name = re.sub(r"[^\w.]+", "-", line.lower()).strip("-.")
        if not name:
            raise ConfigError(f"arm {arm!r} needs a letter or a digit in its label: folders are named after it")
        seeds = dict.fromkeys(("seed", *self.seed_also), seed)
        return Cell(arm, varied, seed, {**self.arms[arm], **varied, **seeds}, line, f"{name}-seed{seed}")

    def _check(self) -> None:
        for seed in _repeated(self.seeds):
            raise ConfigError(f"--seeds: {seed} is given twice")
        if self.seeds and min(self.seeds) < 0:
            raise ConfigError(f"--seeds: a seed is at least 0; got {min(self.seeds)}")
        seed_keys = ("seed", *self.seed_also)
        for where, keys in (
            *((f"arm {arm!r}", list(_leaves(settings))) for arm, settings in self.arms.items()),
            ("--vary", list(self.vary)),
        ):
            for key in keys:
                _refuse_undone(where, key, seed_keys, "the seeds of the study set it")
                _refuse_undone(where, key, ("output",), "every run has a folder of its own")
                if where != "--vary":
                    _refuse_undone(where, key, list(self.vary), "--vary sets it")
        for key, values in self.vary.items():
            for value in _repeated(values):
                raise ConfigError(f"--vary: {key} has the value {value!r} twice")
        for key, other in itertools.permutations(self.vary, 2):
            _refuse_undone("--vary", key, (other,), f"--vary {other} sets it")


def short_key(key: str, among: Sequence[str] | Mapping[str, Any]) -> str:
    """The end of a dotted key that tells it from the others: `rewards.length.weight` is `length.weight`.

    >>> short_key("rewards.length.weight", ["rewards.length.weight"])
    'length.weight'
    >>> short_key("policy.options.lr", ["policy.options.lr", "value.options.lr"])
    'policy.options.lr'
    """
    parts = key.split(".")
    for length in range(2, len(parts)):
        short = ".".join(parts[-length:])
        if sum(other == short or other.endswith(f".{short}") for other in among) == 1:
            return short
    return key


def read_arms(path: Path | None, estimators: Sequence[str]) -> dict[str, Settings]:
    """Label -> settings, of the estimators and of the file.

    Raises:
        ConfigError: no such file, an arm that is no mapping, two arms of one label.
    """
    arms: dict[str, Settings] = {}
    for name in _repeated(estimators):
        raise ConfigError(f"--estimators: {name!r} is given twice")
    for name in estimators:
        arms[name] = {"estimator.name": name}
    for label, settings in (read_yaml(path) if path is not None else {}).items():
        if not isinstance(settings, Mapping):
            raise ConfigError(
                f"{path}: arm {str(label)!r} must be a mapping of settings, such as {{estimator: {{name: gdpo}}}};"
                f" got {settings!r}"
            )
        if str(label) in arms:
            raise ConfigError(f"arm {label!r} is named by --estimators and in {path}; rename one of them")
        arms[str(label)] = {str(key): value for key, value in settings.items()}
    return arms


def read_vary(arguments: Sequence[str], option: str = "--vary") -> dict[str, list[Any]]:
    """Dotted key -> values, from `key=value,value,...` of an option.

    Raises:
        ConfigError: an argument of another form, or a key that is given twice.
    """
    vary: dict[str, list[Any]] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        key = key.removeprefix("--")
        try:
            values = load_yaml(f"[{text}]")
        except yaml.YAMLError:
            values = []
        if not (key and equals and values):
            raise ConfigError(f"{option} takes KEY=VALUE,VALUE,...; got {argument!r}")
        if key in vary:
            raise ConfigError(f"{option}: {key} is given twice; list all its values at once")
        vary[key] = values
    return vary


def _leaves(settings: Settings, at: str = "") -> Iterator[str]:
    """Dotted keys of the values that are no mappings, and of empty mappings."""
    for key, value in settings.items():
        path = f"{at}{key}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}.")
        else:
            yield path


def _repeated(values: Sequence[Any]) -> Iterator[Any]:
    """Those that were there before."""
    return (value for index, value in enumerate(values) if value in values[:index])


def _refuse_undone(where: str, key: str, later: Sequence[str], reason: str) -> None:
    for other in later:
        if key == other or key.startswith(f"{other}."):
            raise ConfigError(f"{where}: {key} would have no effect, for {reason}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
