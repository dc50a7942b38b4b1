"""A taskset of verifiers, loaded and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeAlias

from attrs import frozen

from morl.errors import ConfigError
from morl.isolation.importing import import_function
from morl_verifiers.installed import installed_version, require_verifiers
from morl_verifiers.obstacles import of_taskset

COLUMN = "verifiers"
"""Holds the data of a prompt's task."""

# No `Any`, for which the config's parser would read a text as YAML once more.
Setting: TypeAlias = str | bool | int | float | dict | list | None  # type: ignore[type-arg]


@frozen(eq=False)
class Loaded:
    """A taskset whose tasks one agent can do without verifiers' own processes.

    Attributes:
        name: as the config names it.
        taskset: of verifiers.
        task_type: the class of its tasks.
    """

    name: str
    taskset: Any
    task_type: Any

    def task(self, data: Mapping[str, Any]) -> Any:
        """The task of a prompt, from its column."""
        made = self.task_type.data_type().model_validate(data)
        return self.task_type(made, self.taskset.config.task)

    def without_data(self) -> Any:
        """A task to ask for its hooks, which are the same for all."""
        task: Any = object.__new__(self.task_type)
        task.config = self.taskset.config.task
        return task


def load(name: str, options: Mapping[str, Any]) -> Loaded:
    """The taskset that a config names; the same one for the same options.

    Args:
        name: of an installed package, as verifiers names it, or `package.module:Class`, or `path/to/file.py:Class`.
        options: fields of its config.

    Raises:
        ConfigError: no verifiers, no such taskset, options that it refuses, one that needs verifiers' processes.
    """
    require_verifiers(installed_version())
    return _load(name, json.dumps(options, sort_keys=True, default=str))


@cache
def _load(name: str, options: str) -> Loaded:
    import verifiers.v1 as vf
    from pydantic import ValidationError
    from verifiers.v1.utils.generic import concrete_type

    identifier = None if ":" in name else name
    found: Any = import_function(name) if identifier is None else _by_identifier(name)
    if not isinstance(found, type) or not issubclass(found, vf.Taskset) or found is vf.Taskset:
        raise ConfigError(f"taskset: {name} is {found!r}, no subclass of verifiers.v1.Taskset")
    taskset_class: Any = found
    config_type = concrete_type(taskset_class, vf.TasksetConfig, origin=vf.Taskset) or vf.TasksetConfig
    try:
        config = config_type.model_validate({"id": identifier or "", **json.loads(options)})
        taskset = taskset_class(config)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ConfigError(f"config: the taskset {name} refuses {said}") from error
    loaded = Loaded(name, taskset, taskset_class.task_type())
    obstacles = list(of_taskset(taskset, identifier, loaded.without_data()))
    if obstacles:
        raise ConfigError(f"the taskset {name} cannot be used without verifiers' own processes: {'; '.join(obstacles)}")
    return loaded


def _by_identifier(name: str) -> Any:
    from verifiers.v1.utils.loaders import taskset_class

    try:
        return taskset_class(name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"taskset: {error}") from error
