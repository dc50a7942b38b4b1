"""The reward provider."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from attrs import field, frozen

from morl.errors import ConfigError, suggest
from morl.types import Completion
from morl_math.extract import Mode, final_answer, reference_answer
from morl_math.grading import plain_verdict, quick_verdict, same_number, tidy
from morl_math.pool import Pool
from morl_math.process import Pair, ReferenceTimeout, UnreadableReference

_log = logging.getLogger(__name__)

LateAnswer: TypeAlias = Literal["wrong", "fail"]


@frozen(eq=False)
class MathCorrectness:
    """Whether the final answer of a completion equals the reference answer: 0 or 1.

    Numbers, words, and lists and tuples of them compare exactly and at once; what takes algebra is compared in
    processes of its own.  Only the extracted answer is looked at.  An answer that cannot be compared within the limits
    is wrong; a reference answer that cannot be read is a failure of its completions.

    Args:
        mode: where the answer stands: `number` (a number after the last `####`), `boxed`, `answer-tag`, or `auto`, the
            first of answer-tag, boxed and `####` that is there.
        reference: column of the reference answer; a whole solution will do if it has `####` or `\\boxed`.
        opened_by_prompt: the prompt ends with `<think>`, so a completion without `</think>` has no answer.
        max_characters: a longer answer is none.
        time_limit: seconds of processor time per answer that takes mathematics.
        batch_limit: seconds by the clock for all answers of a call, the short ones first; those whose turn has not come
            by then are late.  To be kept below the entry's `timeout`, which fails them all.
        on_late: what an answer is that exceeds a limit: `wrong`, so that no answer is better than a wrong one, or
            `fail`, a failure under the entry's `on_failure`.
        memory_limit: MiB of address space of a process for mathematics.
        workers: number of these processes; default: 4, or the number of processors if there are fewer.

    Raises:
        ConfigError: an unknown mode, or a limit that leaves no room for an answer.
    """

    reward_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    mode: Mode = "auto"
    reference: str = "answer"
    opened_by_prompt: bool = False
    max_characters: int = 1000
    time_limit: float = 3.0
    batch_limit: float = 50.0
    memory_limit: int = 1024
    workers: int | None = None
    on_late: LateAnswer = "wrong"
    _pool: Pool = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        for option, choices in {"mode": get_args(Mode), "on_late": get_args(LateAnswer)}.items():
            value = getattr(self, option)
            if value not in choices:
                raise ConfigError(
                    f"{option} must be one of {', '.join(choices)}; got {value!r}{suggest(value, choices)}"
                )
        smallest = {"max_characters": 1, "time_limit": 0.1, "batch_limit": 1, "memory_limit": 256, "workers": 1}
        for option, least in smallest.items():
            value = getattr(self, option)
            if value is not None and not value >= least:
                raise ConfigError(f"{option} must be at least {least}; got {value}")
        workers = self.workers or min(4, len(os.sched_getaffinity(0)))
        object.__setattr__(self, "_pool", Pool(workers, self.time_limit, self.memory_limit))

    @property
    def required_columns(self) -> tuple[str, ...]:
        return (self.reference,)

    def score(self, completions: Sequence[Completion]) -> list[float | Exception | None]:
        """1 or 0 each; None where the row has no reference answer."""
        results = [self._quick(completion) for completion in completions]
        compared = self._pool.compare((result for result in results if isinstance(result, tuple)), self.batch_limit)
        late = sum(isinstance(verdict, TimeoutError) for verdict in compared.values())
        if late:
            _log.warning("%d of %d answers that take algebra were not compared within the limits", late, len(compared))
        verdicts = [compared[result] if isinstance(result, tuple) else result for result in results]
        return [self._score(verdict) for verdict in verdicts]

    def _score(self, verdict: bool | Exception | None) -> float | Exception | None:
        if isinstance(verdict, ReferenceTimeout):
            return UnreadableReference(str(verdict))
        if isinstance(verdict, TimeoutError) and self.on_late == "wrong":
            return 0.0
        return float(verdict) if isinstance(verdict, bool) else verdict

    def _quick(self, completion: Completion) -> bool | Exception | Pair | None:
        """What can be said without mathematics, or the pair to compare."""
        try:
            reference = self._reference(completion.prompt.columns[self.reference])
            if reference is None:
                return None
            answer = final_answer(completion.text, self.mode, opened_by_prompt=self.opened_by_prompt)
            answer = "" if answer is None or len(answer) > self.max_characters else answer
            if (verdict := plain_verdict(reference, answer)) is not None:
                return verdict
            if self.mode == "number":
                return same_number(reference, answer)
            verdict = quick_verdict(tidy(reference), tidy(answer))
            return (reference, answer) if verdict is None else verdict
        except (KeyError, ValueError, TypeError) as error:
            return error

    def _reference(self, value: Any) -> str | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise TypeError(f"column {self.reference!r} must hold text or a number; got {type(value).__name__}")
        text = reference_answer(str(value))
        if not text:
            raise UnreadableReference(f"column {self.reference!r} has no answer: {value!r:.200}")
        return text
