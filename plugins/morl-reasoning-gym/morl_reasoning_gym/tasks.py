"""A task of reasoning-gym with its difficulty, as plain data that another process can rebuild it from.

Imports nothing of morl: the process that verifies answers starts in the time that reasoning-gym takes.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

CHUNK = 500
"""Rows of one data set of reasoning-gym, its default size; some make all of their rows at once."""


class TaskError(ValueError):
    """A task, a setting or a level that reasoning-gym does not have."""


def problem(
    task: str, settings: Mapping[str, Any], level: int | None, seed: int, row: int
) -> tuple[Any, dict[str, Any]]:
    """The data set of reasoning-gym that a row belongs to, which verifies its answers, and the row.

    Rows are without end: every `CHUNK` of them are a data set.  reasoning-gym makes row i from the number seed + i, so
    that the rows of seed 1 are those of seed 0 but for one.  Here the seeds of data sets are spread over 2**31 numbers.

    Args:
        task: its name, see `names`.
        settings: fields of the task's config, in place of their defaults.
        level: of the task's curriculum; sets the fields that the curriculum knows.
        seed: of the problems.
        row: number of the problem.

    Raises:
        TaskError: an unknown task or setting, a value that the task refuses, a level of a task without curriculum.
    """
    chunk, index = divmod(row, CHUNK)
    data_set = _data_set(task, json.dumps(dict(settings), sort_keys=True), level, f"{seed} {chunk}")
    return data_set, data_set[index]


def check(task: str, settings: Mapping[str, Any], level: int | None, seed: int) -> None:
    """Refuses what `problem` would.

    Raises:
        TaskError: as there.
    """
    _data_set(task, json.dumps(dict(settings), sort_keys=True), level, f"{seed} 0")


def score(data_set: Any, answer: str, entry: Mapping[str, Any]) -> float:
    """reasoning-gym's own score of an answer, but for one task, whose verifier takes every text for right.

    `game_of_life_halting` of reasoning-gym 0.1.25 compares `bool(answer)` with `bool("False")`, which is True.

    Args:
        data_set: of `problem`.
        answer: to verify.
        entry: the row, of `problem`.
    """
    if entry["metadata"].get("source_dataset") == "game_of_life_halting":
        return float(answer.strip().lower() == entry["answer"].lower())
    return float(data_set.score_answer(answer, entry))


def names() -> list[str]:
    """Of all tasks."""
    from reasoning_gym.factory import DATASETS

    return sorted(DATASETS)


@lru_cache(maxsize=16)
def _data_set(task: str, settings: str, level: int | None, seed: str) -> Any:
    from reasoning_gym.factory import DATASETS

    if task not in DATASETS:
        raise TaskError(f"reasoning-gym has no task {task!r}{_near(task, DATASETS)}; it has: {', '.join(names())}")
    dataset_class, config_class = DATASETS[task]
    fields = _fields(task, json.loads(settings), config_class)
    spread = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big") // 2
    try:
        config = dataclasses.replace(_leveled(task, level, config_class, fields), seed=spread, size=CHUNK)
        if hasattr(config, "validate"):
            config.validate()
        return dataset_class(config)
    except TaskError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise TaskError(f"the task {task!r} refuses the settings {settings}: {reason}") from error


def _fields(task: str, settings: dict[str, Any], config_class: type) -> dict[str, Any]:
    known = [field.name for field in dataclasses.fields(config_class) if field.name not in ("seed", "size")]
    for name in settings:
        if name in ("seed", "size"):
            raise TaskError(f"{name} is an option of the prompt source, beside `settings`, and not one of its settings")
        if name not in known:
            raise TaskError(
                f"the task {task!r} has no setting {name!r}{_near(name, known)}; it has: {', '.join(known)}"
            )
    if task == "composite":
        from reasoning_gym.composite import DatasetSpec

        try:
            settings["datasets"] = [DatasetSpec(**spec) for spec in settings.get("datasets", [])]
        except TypeError as error:
            raise TaskError(f"each of `datasets` must have name, weight and config: {error}") from error
    return settings


def _leveled(task: str, level: int | None, config_class: Any, fields: dict[str, Any]) -> Any:
    """The config, of the curriculum if a level is asked for."""
    if level is None:
        return config_class(**fields)
    from reasoning_gym.factory import CURRICULA, create_curriculum

    if task not in CURRICULA:
        raise TaskError(f"the task {task!r} has no levels; drop `level`, and use `settings`")
    curriculum = create_curriculum(task)
    curriculum.set_global_level(level)
    by_level = dataclasses.asdict(curriculum.generate_configuration())
    default = dataclasses.asdict(config_class())
    both = sorted(name for name in fields if by_level[name] != default[name])
    if both:
        raise TaskError(f"the level sets {', '.join(both)} of the task {task!r}; give either `level` or these settings")
    return curriculum.generate_configuration(defaults=fields)


def _near(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
