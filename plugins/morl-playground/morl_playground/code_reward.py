"""The rewards of the task `code`: one run of each program tells whether it passes and whether it fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from attrs import frozen

from morl.types import Completion
from morl_playground.stack_language import ProgramError, compiled, run


@frozen
class StackCodeReward:
    """Runs each program once on all hidden inputs of its prompt, and returns two rewards.

    `pass`, in [0, 1], is the share of the cases that it gets right.  `bug` is 1 if it compiles and fails neither on the
    cases nor on the edge inputs, for which no answer is right; else 0.
    """

    reward_names: ClassVar[tuple[str, ...]] = ("pass", "bug")
    required_columns: ClassVar[tuple[str, ...]] = ("cases", "edge_inputs")
    reward_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def score(self, completions: Sequence[Completion]) -> dict[str, list[float]]:
        verdicts = [_verdict(completion) for completion in completions]
        return {
            "pass": [passed for passed, _ in verdicts],
            "bug": [float(free_of_errors) for _, free_of_errors in verdicts],
        }


def _verdict(completion: Completion) -> tuple[float, bool]:
    """Share of the cases passed, and whether the program never failed."""
    cases = completion.prompt.columns["cases"]
    inputs = [x for x, _ in cases] + list(completion.prompt.columns["edge_inputs"])
    results = _results(completion.text, inputs)
    passed = sum(result == right for result, (_, right) in zip(results, cases, strict=False))
    return passed / len(cases), None not in results


def _results(source: str, inputs: Sequence[int]) -> list[int | None]:
    """The program's result for every input, None where it fails."""
    try:
        program = compiled(source)
    except ProgramError:
        return [None] * len(inputs)
    results: list[int | None] = []
    for x in inputs:
        try:
            results.append(run(program, x))
        except ProgramError:
            results.append(None)
    return results
