"""The reward provider: both rewards from one run of the tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

from attrs import field, frozen

from morl.errors import ConfigError, DataError, suggest
from morl.types import Completion
from morl_code.cases import read_cases
from morl_code.extract import Extract, behind, program_in
from morl_code.judge import Judge, Limits, Program, Verdict


@frozen(eq=False)
class CodeReward:
    """Runs the program of a completion against the tests of its prompt, in a sandbox.

    Returns two rewards from one run (GDPO, arXiv 2601.05242): `pass`, the share of cases that passed, in [0, 1], and
    `bug`, 1 where no case met a compile or runtime error, a time limit or another limit, else 0.  A wrong answer is no
    bug.  A completion without a program scores 0 on both.

    It reads the columns `tests`, and, where a prompt has them, `setup`, `prefix` and `names`; see `morl_code.cases`.

    Args:
        extract: which part of a completion is the program: the `last-block` or `first-block` between fences, the whole
            `text`, or, with `auto`, the last block of a completion that has blocks and the whole of one that has none.
        opened_by_prompt: the prompt ends with `<think>`, so a completion without `</think>` has no program.
        seconds: that one case may take.
        total_seconds: that all cases of a program may take together; those left over fail.
        memory: MiB that a program may use.
        isolation: what keeps programs from the machine; `auto` takes the best that works here and refuses to run where
            none does; see ISOLATION.md.
        workers: programs that run at once in each training process; null takes one per processor.

    Raises:
        ConfigError: an unknown `extract`, limits that are not positive, an isolation that this machine does not offer.
    """

    reward_names: ClassVar[tuple[str, ...]] = ("pass", "bug")
    required_columns: ClassVar[tuple[str, ...]] = ("tests",)

    extract: Extract = "auto"
    opened_by_prompt: bool = False
    seconds: float = 5.0
    total_seconds: float = 20.0
    memory: int = 1024
    isolation: Literal["auto", "namespaces", "landlock", "none"] = "auto"
    workers: int | None = None
    _judge: Judge = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        ways = get_args(Extract)
        if self.extract not in ways:
            raise ConfigError(
                f"unknown extract {self.extract!r}{suggest(self.extract, ways)}; choose from {', '.join(ways)}"
            )
        for name in ("seconds", "total_seconds", "memory"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be positive; got {getattr(self, name)}")
        if self.total_seconds < self.seconds:
            raise ConfigError(
                f"total_seconds must be at least seconds; got {self.total_seconds:g} and {self.seconds:g}"
            )
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"workers must be at least 1, or null for one per processor; got {self.workers}")
        limits = Limits(wall=self.seconds, cpu=math.ceil(self.seconds), total=self.total_seconds, memory=self.memory)
        object.__setattr__(self, "_judge", Judge(limits=limits, isolation=self.isolation, workers=self.workers))

    def score(self, completions: Sequence[Completion]) -> dict[str, list[float | Exception]]:
        """Both rewards of each completion; the exception where the sandbox failed.

        Raises:
            DataError: a prompt without tests, or with tests that cannot be read.
        """
        programs = [self._program(completion) for completion in completions]
        verdicts = iter(self._judge.run([program for program in programs if program is not None]))
        scores: dict[str, list[float | Exception]] = {name: [] for name in self.reward_names}
        for program in programs:
            verdict = None if program is None else next(verdicts)
            for name, score in zip(self.reward_names, _scores(verdict), strict=True):
                scores[name].append(score)
        return scores

    def _program(self, completion: Completion) -> Program | None:
        columns = completion.prompt.columns
        tests = read_cases(columns["tests"])
        source = program_in(completion.text, self.extract, opened_by_prompt=self.opened_by_prompt)
        if source is None:
            return None
        prefix = _text(columns, "prefix")
        names = columns.get("names")
        return Program(
            source=behind(prefix, source) if prefix else source,
            tests=tests,
            setup=_text(columns, "setup"),
            names=None if names is None else tuple(names),
        )


def _scores(verdict: Verdict | Exception | None) -> tuple[float | Exception, float | Exception]:
    """`pass` and `bug`."""
    match verdict:
        case None:
            return 0.0, 0.0
        case Exception():
            return verdict, verdict
    return verdict.share, float(verdict.ran)


def _text(columns: Mapping[str, Any], name: str) -> str:
    text = columns.get(name)
    if not isinstance(text, str | None):
        raise DataError(f"column {name!r} must hold code as text; got {type(text).__name__} {text!r:.80}")
    return text or ""
