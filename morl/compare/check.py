"""Checks every cell before the first one runs: a typo in the last arm should not show after an hour."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from morl.compare.grid import Cell
from morl.config import Config, parse, to_mapping
from morl.config.sections import part_of, sections
from morl.errors import ConfigError, MorlError
from morl.plugins import Registry
from morl.prompts import check_columns
from morl.runtime.checks import check_settings
from morl.runtime.parts import Parts, build_parts
from morl.types import Prompt


@frozen
class CheckedCell:
    """A cell whose config can be run, as far as can be known without a model.

    Attributes:
        cell: its place in the grid.
        config: its config, resolved.
        settings: the same as YAML would have it.
        modules: where its parts are defined.
        rewards: names of its rewards.
        prompts: fingerprints of all of its prompts, where they were asked for.
    """

    cell: Cell
    config: Config
    settings: Mapping[str, Any]
    modules: frozenset[str]
    rewards: tuple[str, ...] = ()
    prompts: frozenset[str] = frozenset()

    @property
    def slug(self) -> str:
        return self.cell.slug


def check_cells(
    base: Mapping[str, Any], cells: Iterable[Cell], registry: Registry, folder: Path, fingerprints: bool = False
) -> list[CheckedCell]:
    """The cells with their resolved configs.

    Args:
        base: the config that they share.
        cells: of the grid.
        registry: of the parts.
        folder: the runs of the cells go into folders in it, named by their slugs.
        fingerprints: whether the prompts are to be fingerprinted.

    Raises:
        MorlError: what is wrong with the first cell that cannot be run, with its name; or two cells are the same.
    """
    rows: dict[str, Sequence[Prompt]] = {}
    marks: dict[str, frozenset[str]] = {}
    checked: list[CheckedCell] = []
    same: dict[str, Cell] = {}
    for cell in cells:
        try:
            config = parse({**cell.apply(base), "output": str(folder / cell.slug)}, registry)
            if config.training.epochs is not None:
                raise ConfigError(
                    "training.epochs: runs are compared step by step; give their length in training.steps"
                )
            parts = build_parts(config, registry)
            check_settings(config, parts)
            keys = _check_data(config, parts, rows)
        except MorlError as error:
            raise type(error)(f"{cell}: {error}") from error
        settings = to_mapping(config)
        twin = same.setdefault(json.dumps({**settings, "output": ""}, sort_keys=True, default=str), cell)
        if twin is not cell:
            raise ConfigError(f"'{twin}' and '{cell}' have the same config: they would be one run, done twice")
        for key in keys if fingerprints else ():
            if key not in marks:
                marks[key] = frozenset(map(fingerprint, rows[key]))
        prompts = frozenset[str]().union(*(marks[key] for key in keys if fingerprints))
        names = tuple(parts.scorer.names)
        checked.append(CheckedCell(cell, config, settings, _modules(settings, registry), names, prompts))
    return checked


def _check_data(config: Config, parts: Parts, rows: dict[str, Sequence[Prompt]]) -> list[str]:
    """Loads prompts, each source once for all cells, and looks for the columns that rewards need.

    Returns:
        Where in `rows` the prompts are.
    """
    keys: list[str] = []
    held_out = config.evaluation.prompts if config.evaluation is not None else None
    for section, source in ((config.prompts, parts.prompts), (held_out, parts.evaluation_prompts)):
        if section is None or source is None:
            continue
        key = json.dumps([section.name, section.options], sort_keys=True, default=str)
        if key not in rows:
            rows[key] = source.load()
        keys.append(key)
        check_columns(rows[key], parts.scorer.required_columns, parts.scorer.applies)
    return keys


def fingerprint(prompt: Prompt) -> str:
    """The same for prompts that a model is asked alike, whatever their columns."""
    said = json.dumps(prompt.messages, sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _modules(settings: Mapping[str, Any], registry: Registry) -> frozenset[str]:
    parts = (part_of(section, settings, registry) for section in sections(settings) if section.kind is not None)
    return frozenset(part.load().__module__ for part in parts)
