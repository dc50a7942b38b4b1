"""The figures as a table and as files."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

from attrs import asdict
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from morl.artifacts.files import write_text
from morl.config.load import to_mapping
from morl.evaluation.run import Evaluation
from morl.runtime.estimates import METHOD
from morl.runtime.held_out import held_out_sampling


def table(evaluation: Evaluation) -> Group:
    """What a terminal shows."""
    figures, temperature = evaluation.figures, held_out_sampling(evaluation.config).temperature
    drawn = "greedy" if temperature == 0 else f"temperature {temperature:g}"
    count = "1 completion" if figures.samples == 1 else f"{figures.samples} completions"
    shown = Table("")
    for heading in ("mean [95% interval]", "scored", "missing", "failed"):
        shown.add_column(heading, justify="right")
    for name, reward in figures.rewards.items():
        failed = f"[bold red]{reward.failed}[/]" if reward.failed else "0"
        shown.add_row(f"[bold]{escape(name)}", str(reward.mean), str(reward.scored), str(reward.missing), failed)
    shown.add_section()
    for name, passed in figures.passes.items():
        for k, chance in passed.at.items():
            over = "" if chance.prompts == figures.prompts else f"{chance.prompts} prompts"
            shown.add_row(escape(f"pass@{k} ({name} >= {passed.at_least:g})"), str(chance), over)
    shown.add_section()
    shown.add_row("tokens", figures.length.text(1))
    shown.add_row("truncated", str(figures.truncated))
    if figures.over_limit is not None:
        shown.add_row(f"over {figures.limit} tokens", str(figures.over_limit))
    return Group(
        Text(f"model: {evaluation.model}"),
        Text(f"{figures.prompts} held-out prompts, {count} of each, {drawn}"),
        shown,
    )


def write_json(path: Path, evaluation: Evaluation) -> None:
    """Figures, and what somebody needs to know to get them again."""
    libraries = {name: version(name) for name in ("torch", "transformers")}
    content = {
        "model": evaluation.model,
        "interval": METHOD,
        **asdict(evaluation.figures),
        "config": to_mapping(evaluation.config),
        "versions": {**evaluation.plugins, **libraries},
    }
    _write(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_samples(path: Path, evaluation: Evaluation) -> None:
    """One completion per line."""
    _write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in evaluation.samples))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
