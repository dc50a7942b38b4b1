"""Which lines of a study learn the same task: only their finals can be traded off against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

_SECTIONS = ("prompts", "policy", "environment", "tools", "evaluation")
"""Of the config, that say what is asked, of which model, and how it is examined."""


def is_of_task(setting: str) -> bool:
    """Whether a setting, by its dotted name, makes another task: all of what is asked and scored, but no weight.

    >>> [is_of_task(name) for name in ("policy.task_options.slips", "rewards.brief.limit", "rewards.brief.weight")]
    [True, True, False]
    """
    section, *rest = setting.split(".")
    return section in _SECTIONS or (section == "rewards" and rest[1:2] != ["weight"])


def by_task(
    names: Iterable[str], line: Callable[[str], str], different: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[str]]:
    """Names by the task of their lines, which is told by the settings in which it differs from others.

    Args:
        names: of anything.
        line: the line that a name stands for.
        different: setting -> line -> value, of the settings in which lines differ.
    """
    told = [setting for setting in different if is_of_task(setting)]
    found: dict[str, list[str]] = {}
    for name in names:
        own = [f"{key}={different[key][line(name)]}" for key in told if line(name) in different[key]]
        found.setdefault(", ".join(own), []).append(name)
    return found
