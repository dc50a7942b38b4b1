"""`morl compare`, from the command line to the report."""

from __future__ import annotations

import shlex
from typing import Any

from morl.compare.arguments import Arguments, help_text, read_arguments
from morl.compare.grid import Grid, read_arms, read_vary
from morl.compare.tuned import Tuned, read_tuned
from morl.config import merge, read_configs
from morl.console import wants_help
from morl.errors import ConfigError


def compare(arguments: list[str]) -> int:
    """Runs what is not done of a study and writes its report.

    Returns:
        0, or 1 if a cell failed; 130 when interrupted.
    """
    if wants_help(arguments):
        print(help_text(), end="")
        return 0
    paths, tree, rest = read_configs(arguments)
    if not paths:
        raise ConfigError(
            "morl compare needs a config first: morl compare CONFIG.yaml --estimators grpo gdpo --output FOLDER"
        )
    asked = read_arguments(rest)
    base = merge(tree, asked.overrides)
    output = asked.output or base.get("output")
    if not output:
        raise ConfigError("morl compare needs a folder for the study: --output FOLDER")
    base["output"] = str(output)
    tuned = read_tuned(asked.tuned) if asked.tuned is not None else None
    grid = _grid(asked, base, tuned)
    cells = grid.cells()

    # Lightning and transformers are imported from here on: a typo in the command is to be reported immediately.
    from morl.compare.study import Study

    command = shlex.join(["morl", "compare", *arguments])
    study = Study.of(base, grid, cells, asked, tuned, command=command)
    return study.report() if asked.report_only else study.run(asked.jobs, asked.keep)


def _grid(asked: Arguments, base: dict[str, Any], tuned: Tuned | None) -> Grid:
    arms = read_arms(asked.arms, asked.estimators)
    if tuned is not None:
        tuned.check_seeds(asked.seeds)
        for label in arms.keys() & tuned.arms.keys():
            raise ConfigError(f"arm {label!r} is named twice, in {asked.tuned} and on the command line; rename one")
        arms = {**arms, **tuned.arms}
    vary, tune = read_vary(asked.vary), read_vary(asked.tune, "--tune")
    for key in vary.keys() & tune.keys():
        raise ConfigError(f"{key} is given to --vary and to --tune; choose one of them")
    return Grid(arms or {_estimator(base): {}}, {**vary, **tune}, asked.seeds, asked.seed_also, tuple(tune))


def _estimator(base: dict[str, Any]) -> str:
    """The label of the only arm, where none is named."""
    section = base.get("estimator")
    return str(section.get("name", "gdpo")) if isinstance(section, dict) else "gdpo"
