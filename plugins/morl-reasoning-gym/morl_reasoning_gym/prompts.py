"""The prompt source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

from attrs import field, frozen, validators

from morl.errors import ConfigError
from morl.types import Prompt
from morl_reasoning_gym.process import maker

COLUMN = "reasoning_gym"
"""Holds what a problem is made from: task, settings, level, seed and row."""
INSTRUCTION = "Give only the final answer between <answer> and </answer> tags."
THINK = (
    "First think about the problem between <think> and </think> tags. Then give only the final answer between <answer>"
    " and </answer> tags."
)


@frozen
class ReasoningGym:
    """Problems of one task of reasoning-gym (arXiv 2505.24760), generated when a row is asked for.

    Columns: `reasoning_gym`, from which the reward makes the problem again, and `answer`, one right answer, None where
    the task has several and names none.

    Args:
        task: name of the task, e.g. `chain_sum`; `composite` mixes others by its setting `datasets`.
        size: problems; each has its place in the order, so more of them begin with the same ones.
        seed: of the problems.  Different seeds have different rows, so a second seed holds problems out, as far as the
            task has enough of them.
        settings: fields of the task's config in place of their defaults.
        level: of the task's curriculum, 0 is the easiest; sets the fields that the curriculum knows.
        think: ask for thoughts before the answer.
        chat: hand the problem over as chat messages; false gives plain text.
        instruction: in place of the default text that asks for the tags; empty for none.

    Raises:
        ConfigError: an unknown task or setting, a value that the task refuses, a level of a task without curriculum,
            `think` with an `instruction` of your own.
    """

    task: str
    size: int = field(default=500, validator=validators.ge(1))
    seed: int = field(default=0, validator=validators.ge(0))
    settings: Mapping[str, Any] = field(factory=dict)
    level: int | None = field(default=None, validator=validators.optional(validators.ge(0)))
    think: bool = False
    chat: bool = True
    instruction: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.think and self.instruction is not None:
            raise ConfigError("`think` chooses between two default instructions; it has no effect beside your own")
        from morl_reasoning_gym.tasks import TaskError, check

        try:
            check(self.task, self.settings, self.level, self.seed)
        except TaskError as error:
            raise ConfigError(str(error)) from error

    def load(self) -> Sequence[Prompt]:
        """All problems, none of them made yet."""
        return _Problems(self)

    def row(self, row: int) -> Prompt:
        """One problem."""
        made_from: dict[str, Any] = {
            "task": self.task,
            "settings": dict(self.settings),
            "level": self.level,
            "seed": self.seed,
            "row": row,
        }
        question, answer = maker().problem(made_from)
        instruction = (THINK if self.think else INSTRUCTION) if self.instruction is None else self.instruction
        columns = {"answer": answer, COLUMN: made_from}
        if not self.chat:
            return Prompt("\n\n".join(part for part in (instruction, f"{question}\n") if part), columns)
        system = [{"role": "system", "content": instruction}] if instruction else []
        return Prompt([*system, {"role": "user", "content": question}], columns)


@frozen
class _Problems(Sequence[Prompt]):
    """Random access to the rows of a source."""

    source: ReasoningGym

    def __len__(self) -> int:
        return self.source.size

    @overload
    def __getitem__(self, index: int) -> Prompt: ...
    @overload
    def __getitem__(self, index: slice) -> list[Prompt]: ...
    def __getitem__(self, index: int | slice) -> Prompt | list[Prompt]:
        rows = range(len(self))[index]
        return self.source.row(rows) if isinstance(rows, int) else [self.source.row(row) for row in rows]
