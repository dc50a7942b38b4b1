"""A model card in the Hub's form, made from the folder of a run."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from morl.artifacts.evaluations import read_evaluations
from morl.artifacts.files import write_text
from morl.artifacts.folder import RunFolder
from morl.artifacts.table import read_rows
from morl.errors import DataError

CARD = "README.md"
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_LOOP = ("prompts_per_step", "group_size", "inner_epochs", "mini_batches")


def write_card(model: Path, run: RunFolder, step: int) -> None:
    """Writes the card of the policy after `step` steps of a run into its folder."""
    write_text(model / CARD, card(run, step))


def card(run: RunFolder, step: int) -> str:
    """What the card says: where the model comes from, rewards and estimator, and figures of the run.

    Paths of the machine are left out, and so are options of rewards, which may name what is not to be published.
    """
    config = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    base = str((config.get("policy") or {}).get("path", ""))
    is_public = _HUB_NAME.fullmatch(base) is not None and not Path(base).exists()
    head = {"library_name": "transformers", "tags": ["reinforcement-learning", "morl"]}
    if is_public:
        head["base_model"] = base
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n",
            f"# Trained on {_and(config.get('rewards') or ())}\n",
            f"{base if is_public else 'A language model'} after {step} steps of reinforcement learning with several"
            " rewards.\n",
            "## Rewards\n",
            *_rewards(config, run, step),
            "\n## Training\n",
            *_training(config, run, step),
            "",
        ]
    )


def _rewards(config: Mapping[str, Any], run: RunFolder, step: int) -> Iterator[str]:
    """A table: where there was an evaluation, with the means on the held-out prompts."""
    before, after = _evaluations(run, step)
    compared = [f"held-out mean after {count} steps" for count, _ in (before, after)] if before and after else []
    yield f"| {' | '.join(['reward', 'provider', 'weight', *compared])} |"
    yield "|" + "---|" * (3 + len(compared))
    for name, entry in (config.get("rewards") or {}).items():
        cells = [name, f"`{entry['name']}`", str(entry.get("weight", 1.0))]
        if before and after:
            cells += [_number(means.get(name)) for _, means in (before, after)]
        yield f"| {' | '.join(cells)} |"


def _training(config: Mapping[str, Any], run: RunFolder, step: int) -> Iterator[str]:
    estimator, loss, optimizer = (config.get(section) or {} for section in ("estimator", "loss", "optimizer"))
    yield f"- estimator: `{estimator.get('name')}`{_options(estimator)}"
    yield f"- loss: `{loss.get('name')}`{_options(loss)}"
    yield f"- optimizer: `{optimizer.get('name')}`, learning rate {optimizer.get('lr')}"
    training = config.get("training") or {}
    yield f"- each step: {', '.join(f'{key} {training[key]}' for key in _LOOP if key in training)}"
    if lora := (config.get("policy") or {}).get("lora"):
        under = config["policy"].get("quantisation")
        base = f" over weights in {under.get('type')}" if under else ""
        yield f"- LoRA of rank {lora.get('rank')}{base}, merged into the weights"
    if run.metrics.is_file():
        rows = [row for row in read_rows(run.metrics)[0] if row["step"] == step]
        shown = {key: row[key] for row in rows[-1:] for key in ("loss", "policy/entropy", "completions/length_mean")}
        if shown:
            yield f"- last step: {', '.join(f'{name} {value:.4g}' for name, value in shown.items())}"
    if run.environment.is_file() and (versions := _versions(run.environment)):
        yield f"- made with {versions}"


def _evaluations(run: RunFolder, step: int) -> tuple[Any, Any]:
    """The first and the last evaluation up to a step, as its number and its means; Nones where there are not two."""
    if not run.evaluation.is_file():
        return None, None
    try:
        rows = {row["step"]: row["metrics"] for row in read_evaluations(run.evaluation)}
    except DataError as error:
        warnings.warn(f"{error}; the model card is written without held-out figures", stacklevel=2)
        return None, None
    steps = sorted(number for number in rows if number <= step)
    return ((steps[0], rows[steps[0]]), (steps[-1], rows[steps[-1]])) if len(steps) > 1 else (None, None)


def _options(section: Mapping[str, Any]) -> str:
    shown = {key: value for key, value in section.items() if key != "name" and value not in (None, {}, [])}
    return f" with {', '.join(f'{key} {value}' for key, value in shown.items())}" if shown else ""


def _versions(path: Path) -> str:
    try:
        environment = json.loads(path.read_text(encoding="utf-8"))
        libraries = {**(environment.get("plugins") or {}), **(environment.get("libraries") or {})}
    except (AttributeError, TypeError, ValueError) as error:
        warnings.warn(f"{path} cannot be read ({error}); the model card is written without versions", stacklevel=2)
        return ""
    wanted = ("morl-llm", "torch", "transformers")
    return ", ".join(f"{name} {libraries[name]}" for name in wanted if name in libraries)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.3f}"


def _and(names: Iterable[str]) -> str:
    *first, last = [*names] or ["rewards"]
    return f"{', '.join(first)} and {last}" if first else last
