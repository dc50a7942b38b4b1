"""What a diagnosis found, as tables, as warnings in words, and as a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attrs import asdict
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from morl.artifacts.files import write_text
from morl.config import to_mapping
from morl.diagnosis.first_step import HIGHEST_WEIGHT, Push
from morl.diagnosis.run import Diagnosis, FirstStep

_ARROWS = {"up": "↑", "down": "↓", "unclear": "?"}


def tables(found: Diagnosis) -> Group:
    """What a terminal shows, the warnings last."""
    said = list(warnings(found))
    shown: list[RenderableType] = [
        Text(f"{found.prompts} training prompts, {found.group_size} completions of each, from the policy as it is"),
        _rewards(found),
    ]
    if found.prices:
        shown.append(_prices(found))
    shown.append(_steps(found))
    shown.extend(Text(f"warning: {text}", style="bold red") for text in said)
    if not said:
        shown.append(Text("No reward is pushed down by any of these estimators, as far as the sample tells."))
    return Group(*shown)


def warnings(found: Diagnosis) -> Iterator[str]:
    """What is likely to go wrong, in words."""
    for name, state in found.rewards.items():
        if found.weights[name] and state.varies.mean == 0 and name in found.from_reference:
            yield (
                f"`{name}` compares the policy with its reference, and the two are one before the first step: it costs"
                " nothing now, and what it will cost cannot be told from this policy"
            )
        elif found.weights[name] and state.varies.mean == 0:
            yield (
                f"`{name}` varies within none of {found.prompts} groups: nothing can be learned of it from this policy"
            )
    for step in found.steps:
        for name, needed in step.needed.items():
            weight = found.weights[name]
            if needed is None:
                more = f"no weight up to {HIGHEST_WEIGHT * weight:g} mends that"
            else:
                more = f"it needs more than {needed:.3g}"
            yield f"{step.estimator} will push `{name}` down at weight {weight:g}; {more}{_cost(found, name)}"


def write_json(path: Path, found: Diagnosis) -> None:
    """All figures, and what somebody needs to know to get them again."""
    content = {
        "prompts": found.prompts,
        "group_size": found.group_size,
        "weights": dict(found.weights),
        "rewards": {name: asdict(state) for name, state in found.rewards.items()},
        "prices": [asdict(price) for price in found.prices],
        "first_steps": [_plain(step) for step in found.steps],
        "warnings": list(warnings(found)),
        "config": to_mapping(found.config),
        "versions": {name: version(name) for name in ("torch", "transformers")},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _cost(found: Diagnosis, name: str) -> str:
    """What the reward costs in the weighted others, where that is more than nothing."""
    costs = [
        f"{price.lost:.3g} of `{price.of}`"
        for price in found.prices
        if price.reward == name and found.weights[price.of] > 0 and price.low is not None and price.low > 0
    ]
    return f" (one unit of it costs {' and '.join(costs)} at first)" if costs else ""


def _plain(step: FirstStep) -> dict[str, Any]:
    pushes = {name: {**asdict(push), "direction": push.direction} for name, push in step.pushes.items()}
    return {"estimator": step.estimator, "pushes": pushes, "needed": dict(step.needed)}


def _rewards(found: Diagnosis) -> Table:
    table = Table("reward", title="Rewards, mean [95% interval over prompts]", title_justify="left")
    for heading in ("weight", "mean", "success", "groups that vary", f"pass@{found.group_size}"):
        table.add_column(heading, justify="right")
    for name, state in found.rewards.items():
        success = "-" if state.success is None else f"{state.success} (>= {state.threshold:g})"
        table.add_row(
            f"[bold]{escape(name)}",
            f"{found.weights[name]:g}",
            str(state.mean),
            success,
            str(state.varies),
            "-" if state.solved is None else str(state.solved),
        )
    return table


def _prices(found: Diagnosis) -> Table:
    title = "What one unit of a reward costs in another, within groups (negative: it brings some)"
    table = Table("reward", "costs", "of", title=title, title_justify="left")
    for price in found.prices:
        lost = "-" if price.lost is None else f"{price.lost:.3f}"
        interval = "" if price.low is None else f" [{price.low:.3f}, {price.high:.3f}]"
        table.add_row(f"[bold]{escape(price.reward)}", lost + interval, escape(price.of))
    return table


def _steps(found: Diagnosis) -> Table:
    title = "First step: correlation of advantage and reward within groups; ↑ pushed up, ↓ pushed down, ? unclear"
    table = Table("estimator", title=title, title_justify="left")
    for name in found.rewards:
        table.add_column(escape(name), justify="right")
    for step in found.steps:
        table.add_row(f"[bold]{escape(step.estimator)}", *(_push(push) for push in step.pushes.values()))
    return table


def _push(push: Push) -> str:
    interval = push.interval
    shown = "" if interval is None else f" [{interval[0]:+.2f}, {interval[1]:+.2f}]"
    return escape(f"{_ARROWS[push.direction]} {push.correlation:+.2f}{shown}")
