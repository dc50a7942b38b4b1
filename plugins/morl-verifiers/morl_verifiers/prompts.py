"""The prompt source: the tasks of a taskset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from attrs import field, frozen, validators

from morl.errors import ConfigError, DataError
from morl.types import Prompt
from morl_verifiers.loading import COLUMN, Loaded, Setting, load
from morl_verifiers.messages import from_verifiers
from morl_verifiers.obstacles import of_data


@frozen(eq=False)
class VerifiersPrompts:
    """The tasks of a taskset of verifiers, as chats.

    Columns: `verifiers`, the data of the task, which its rewards and tools read.

    Args:
        taskset: an installed package, as verifiers names it, or `path/to/file.py:Class`, or `package.module:Class`.
        config: fields of its config.
        size: how many tasks; all, if it is not given.
        skip: tasks that are left out before these.
        shuffle_seed: seed of another order, before any are left out.

    Raises:
        ConfigError: a taskset that is not there or needs verifiers' own processes, options that it refuses, all tasks
            of one without end.
    """

    taskset: str
    config: Mapping[str, Setting] = field(factory=dict)
    size: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    skip: int = field(default=0, validator=validators.ge(0))
    shuffle_seed: int | None = field(default=None, validator=validators.optional(validators.ge(0)))
    _loaded: Loaded = field(init=False, repr=False)

    @_loaded.default
    def _load(self) -> Loaded:
        return load(self.taskset, self.config)

    def __attrs_post_init__(self) -> None:
        if self._loaded.taskset.INFINITE and (self.size is None or self.shuffle_seed is not None):
            raise ConfigError(f"the taskset {self.taskset} has no end: give a `size`, and no `shuffle_seed`")

    def load(self) -> Sequence[Prompt]:
        """The tasks, in the order of the taskset.

        Raises:
            DataError: fewer tasks than `size`, none, or one that cannot be asked as it is.
        """
        tasks = self._loaded.taskset if self.shuffle_seed is None else self._loaded.taskset.shuffle(self.shuffle_seed)
        stop = None if self.size is None else self.skip + self.size
        prompts = [self._prompt(task) for task in islice(tasks, self.skip, stop)]
        if len(prompts) < (self.size or 1):
            wanted = "at least one" if self.size is None else self.size
            raise DataError(f"the taskset {self.taskset} has {len(prompts)} tasks after `skip`; expected {wanted}")
        return prompts

    def _prompt(self, task: Any) -> Prompt:
        data = task.data
        where = f"task {data.idx} of {self.taskset}"
        if (obstacle := of_data(data)) is not None:
            raise DataError(f"{where} {obstacle}")
        try:
            chat = [{"role": "user", "content": data.prompt}] if isinstance(data.prompt, str) else None
            messages = chat or [from_verifiers(message) for message in data.prompt]
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        if data.system_prompt is not None:
            messages = [{"role": "system", "content": data.system_prompt}, *messages]
        # Without `exclude_defaults`, which would leave the roles of messages out.
        fields = type(data).model_fields.items()
        given = {name for name, of in fields if getattr(data, name) != of.get_default(call_default_factory=True)}
        column = data.model_dump(mode="json", include=given)
        if self._loaded.task(column).data != data:
            declared = self._loaded.task_type.data_type().__name__
            raise DataError(f"{where}: its data does not survive JSON as the declared type {declared}; got {data!r}")
        return Prompt(messages, {COLUMN: column})
