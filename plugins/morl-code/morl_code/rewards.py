"""The reward provider: both rewards from one run of the tests."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

from attrs import field, frozen

from morl.errors import ConfigError, DataError, suggest
from morl.types import Completion
from morl_code.cases import read_cases
from morl_code.extract import Extract, behind, program_in
from morl_code.judge import TOLERANCE, FunctionTest, Judge, Limits, Program, Verdict

_IMPORTS = ("auto", "always", "never")
_WORD = re.compile(r"[A-Za-z_]\w*")
_SOLUTION = re.compile(r"^class Solution\b", re.MULTILINE)


@frozen(eq=False)
class CodeReward:
    """Runs the program of a completion against the tests of its prompt, in a sandbox.

    Returns two rewards from one run (GDPO, arXiv 2601.05242): `pass`, the share of cases that passed, in [0, 1], and
    `bug`, 1 where no case met a compile or runtime error, a time limit or another limit, else 0.  A wrong answer is no
    bug.  A completion without a program scores 0 on both.

    `bug` by itself rewards programs that do nothing: `return None` has no bug on nearly every task of HumanEval.  Let
    it count only for programs that get some case right: `bug_needs_pass`, or a condition on `pass` in the estimator.

    It reads the columns `tests`, and, where a prompt has them, `setup`, `prefix` and `names`; see `morl_code.cases`.

    Args:
        extract: which part of a completion is the program: the `last-block` or `first-block` between fences, the whole
            `text`, or, with `auto`, the last block of a completion that has blocks and the whole of one that has none.
        opened_by_prompt: the prompt ends with `<think>`, so a completion without `</think>` has no program.
        seconds: that one case may compute, or wait without computing; waiting for a busy processor does not count.
        total_seconds: that all cases of a program may take together, counted in the same way; those left over fail.
        memory: MiB that a program may use.
        isolation: what keeps programs from the machine: `auto` takes the best of `namespaces` and `landlock` that works
            here and refuses to run where none does; `bubblewrap`, `none`, or the sandbox of a plugin by name; see
            ISOLATION.md.
        workers: programs that run at once in each training process; null takes one per processor.
        tolerance: by how much floating-point numbers of an output may differ, absolutely or relatively; 0 compares
            texts.
        imports: whether a program may use the names that judges import for it, such as `List` and `defaultdict`,
            without importing them: `auto` for answers in LeetCode's style, which have a class `Solution`, `always` or
            `never`.
        bug_needs_pass: `bug` is 0 for a program that passes no case.

    Raises:
        ConfigError: an unknown `extract` or `imports`, limits that are not positive, a tolerance out of range, an
            isolation that this machine does not offer.
    """

    reward_names: ClassVar[tuple[str, ...]] = ("pass", "bug")
    reward_bounds: ClassVar[dict[str, tuple[float, float]]] = {"pass": (0.0, 1.0), "bug": (0.0, 1.0)}
    required_columns: ClassVar[tuple[str, ...]] = ("tests",)

    extract: Extract = "auto"
    opened_by_prompt: bool = False
    seconds: float = 5.0
    total_seconds: float = 20.0
    memory: int = 1024
    isolation: str = "auto"
    workers: int | None = None
    tolerance: float = TOLERANCE
    imports: Literal["auto", "always", "never"] = "auto"
    bug_needs_pass: bool = False
    _judge: Judge = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        for name, ways in (("extract", get_args(Extract)), ("imports", _IMPORTS)):
            if (given := getattr(self, name)) not in ways:
                raise ConfigError(f"unknown {name} {given!r}{suggest(str(given), ways)}; choose from {', '.join(ways)}")
        for name in ("seconds", "total_seconds", "memory"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be positive; got {getattr(self, name)}")
        if self.total_seconds < self.seconds:
            raise ConfigError(
                f"total_seconds must be at least seconds; got {self.total_seconds:g} and {self.seconds:g}"
            )
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"workers must be at least 1, or null for one per processor; got {self.workers}")
        if not 0 <= self.tolerance < 1:
            raise ConfigError(f"tolerance must be in [0, 1); got {self.tolerance}")
        # One process may run all cases of a program, and one that the kernel ends would fail whichever it is at.
        cpu = math.ceil(self.total_seconds + self.seconds)
        limits = Limits(wall=self.seconds, cpu=cpu, total=self.total_seconds, memory=self.memory)
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
            for name, score in zip(self.reward_names, self._scores(verdict), strict=True):
                scores[name].append(score)
        return scores

    def _program(self, completion: Completion) -> Program | None:
        columns = completion.prompt.columns
        tests = read_cases(columns["tests"])
        names = columns.get("names")
        wanted = names or {
            word for test in tests if isinstance(test, FunctionTest) for word in _WORD.findall(test.code)
        }
        source = program_in(completion.text, self.extract, opened_by_prompt=self.opened_by_prompt, wanted=wanted)
        if source is None:
            return None
        prefix = _text(columns, "prefix")
        return Program(
            source=behind(prefix, source) if prefix else source,
            tests=tests,
            setup=_text(columns, "setup"),
            names=None if names is None else tuple(names),
            imports=self.imports == "always" or (self.imports == "auto" and _is_leetcode(source, names)),
            tolerance=self.tolerance,
        )

    def _scores(self, verdict: Verdict | Exception | None) -> tuple[float | Exception, float | Exception]:
        """`pass` and `bug`."""
        match verdict:
            case None:
                return 0.0, 0.0
            case Exception():
                return verdict, verdict
        free_of_bugs = verdict.ran and (any(verdict.passed) or not self.bug_needs_pass)
        return verdict.share, float(free_of_bugs)


def _is_leetcode(source: str, names: Sequence[str] | None) -> bool:
    return "Solution" in (names or ()) or _SOLUTION.search(source) is not None


def _text(columns: Mapping[str, Any], name: str) -> str:
    text = columns.get(name)
    if not isinstance(text, str | None):
        raise DataError(f"column {name!r} must hold code as text; got {type(text).__name__} {text!r:.80}")
    return text or ""
