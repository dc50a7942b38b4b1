"""What was declared of a study, and when: a contrast that is named after the runs is no declaration."""

from __future__ import annotations

import json
from collections.abc import Mapping

from attrs import evolve

from morl.analysis.plan import Plan
from morl.artifacts.files import write_text
from morl.compare.folder import StudyFolder
from morl.errors import ConfigError


def declarations(plan: Plan) -> list[str]:
    """Everything that a plan declares, as text."""
    margin = [] if plan.equivalence is None else [f"equivalence {plan.equivalence:g}"]
    ranges = ",".join(f"{name}:{low:g}:{high:g}" for name, (low, high) in plan.primary.items())
    return [*map(str, plan.contrasts), *margin, *([f"primary {ranges}"] if ranges else [])]


def declared_in_time(folder: StudyFolder, plan: Plan, finished: int) -> tuple[Plan, dict[str, int]]:
    """The plan with what was declared too late marked, and what is to be remembered of it.

    Args:
        folder: of the study.
        plan: as the command has it.
        finished: runs of the study that have finished.

    Returns:
        The plan; and declaration -> runs that had finished when it was first made.

    Raises:
        ConfigError: the command leaves out what was declared before.
    """
    before = _read(folder)
    now = declarations(plan)
    for gone in (text for text in before if text not in now):
        raise ConfigError(
            f"{folder.path} was declared with {gone!r}, which this command leaves out or changes: a declaration that"
            " can be withdrawn is none; give it again, or choose another folder with --output"
        )
    made = {text: before.get(text, finished) for text in now}
    late = {text: count for text, count in made.items() if count and not text.startswith("primary ")}
    margin = None if any(text.startswith("equivalence ") for text in late) else plan.equivalence
    return evolve(plan, late=late, equivalence=margin), made


def remember(folder: StudyFolder, made: Mapping[str, int]) -> None:
    """Writes down what was declared."""
    if made:
        write_text(folder.declared, json.dumps(dict(made), indent=1, ensure_ascii=False) + "\n")


def _read(folder: StudyFolder) -> dict[str, int]:
    return json.loads(folder.declared.read_text("utf-8")) if folder.declared.is_file() else {}
