"""The rewards: is the answer right, by the task's own verifier, and is it in the tags that were asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from attrs import field, frozen, validators

from morl.reward.text import TagsReward
from morl.types import Completion
from morl_reasoning_gym.process import GymProcess
from morl_reasoning_gym.prompts import COLUMN

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


@frozen(eq=False)
class ReasoningGymCorrectness:
    """The score of reasoning-gym's own `score_answer`, from 0 to 1: 1 is right, and some tasks give partial credit.

    What is verified is the text within the last `<answer>` tags, without white space around it; a completion without
    them scores 0.  An answer that the verifier cannot read scores 0; one that takes it too long is a failure.

    Some verifiers evaluate the answer as a formula.  They run in a process of their own, with limits for time and
    memory, that may neither write files nor start programs nor reach a network.

    Args:
        tags: False takes the whole completion for the answer.
        time_limit: seconds of processor time per answer.
        memory_limit: MiB of address space of the process.
    """

    tags: bool = True
    time_limit: float = field(default=5.0, validator=validators.gt(0.0))
    memory_limit: int = field(default=4096, validator=validators.ge(1024))
    _process: GymProcess = field(init=False, repr=False)

    required_columns: ClassVar[tuple[str, ...]] = (COLUMN,)
    reward_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    @_process.default
    def _make_process(self) -> GymProcess:
        return GymProcess(self.time_limit, self.memory_limit)

    def score(self, completions: Sequence[Completion]) -> list[float | Exception | None]:
        """One score, or why there is none, each."""
        return [self._score(completion) for completion in completions]

    def _score(self, completion: Completion) -> float | Exception:
        answer = completion.text.strip()
        if self.tags:
            blocks = _ANSWER.findall(completion.text)
            if not blocks:
                return 0.0
            answer = blocks[-1].strip()
        try:
            return self._process.score(completion.prompt.columns[COLUMN], answer)
        except (TimeoutError, RuntimeError) as error:
            return error


@frozen(eq=False)
class ReasoningGymFormat:
    """1 for exactly one `<answer>` block that is not empty, else 0.

    Args:
        think: a `<think>` block must stand before it, and no other text beside the two.  Without it, other text may
            stand around the answer.
    """

    think: bool = False
    _tags: TagsReward = field(init=False, repr=False)

    @_tags.default
    def _make_tags(self) -> TagsReward:
        tags = ["think", "answer"] if self.think else ["answer"]
        return TagsReward(tags, text_outside=not self.think, non_empty=True)

    def score(self, completions: Sequence[Completion]) -> list[float]:
        """1 or 0 each."""
        return self._tags.score(completions)
