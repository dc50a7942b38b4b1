"""Files of `samples/` as a run of any age has left them; lines that cannot be read are counted, never fatal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

MOST_LINES = 20_000
"""Of one file; a page with more completions is read by nobody."""

MOST_TOKENS = 1 << 40
"""Of a completion."""


@frozen(eq=False)
class Sample:
    """One completion with what it earned.

    Attributes:
        number: its place in the file, from 0.
        group: what tells its prompt from the others of the step; older runs have the prompt's row only.
        rewards: as they were scored; None where missing.
        contributions: what each reward adds to the advantage.
        advantage: None where the file has none.
        failed: rewards that failed on it; None where the file, of an older run, does not say.
        columns: of the prompt's row, such as the reference answer.
        conditioned: rewards as the estimator saw them, where a condition changed them.
        turns: of a conversation.
        weights: as the estimator used them; empty where the file, of an older run, does not say.
        bounds: of the rewards that have some, likewise.
        turn_advantages: of every turn, where the estimator told tokens apart.
        fates: number of tokens by what the loss did with them, likewise; 0 where only a stretch of text is known.
        pieces: what the loss did with a stretch of tokens, and its text; empty where the file does not say.
        left_out: the estimator saw none of its scores, for it was dropped, or masked because it was truncated.
    """

    number: int
    group: int
    prompt: str
    completion: str
    status: str
    tokens: int | None
    rewards: Mapping[str, float | None]
    contributions: Mapping[str, float]
    advantage: float | None
    failed: tuple[str, ...] | None = None
    columns: Mapping[str, Any] = field(factory=dict)
    conditioned: Mapping[str, float | None] = field(factory=dict)
    turns: tuple[Mapping[str, Any], ...] = ()
    left_out: bool = False
    weights: Mapping[str, float] = field(factory=dict)
    bounds: Mapping[str, tuple[float, float]] = field(factory=dict)
    turn_advantages: tuple[float, ...] = ()
    fates: Mapping[str, int] = field(factory=dict)
    pieces: tuple[tuple[str, str], ...] = ()

    def why_missing(self, reward: str) -> str:
        """Why the estimator saw no score of the reward."""
        if self.left_out:
            return "left out of the update"
        if self.rewards.get(reward) is not None:
            return "its condition is not reached"
        if self.failed is None:
            return "missing"
        return "failed" if reward in self.failed else "does not apply"

    def seen(self, reward: str) -> float | None:
        """The score as the estimator saw it, None where missing."""
        if self.left_out:
            return None
        return self.conditioned[reward] if reward in self.conditioned else self.rewards.get(reward)


@frozen(eq=False)
class StepSamples:
    """The completions of one step.

    Attributes:
        step: finished steps, from 1.
        faults: lines that are no sample.
        left_out: lines beyond `MOST_LINES`.
    """

    step: int
    samples: tuple[Sample, ...]
    faults: int = 0
    left_out: int = 0

    def group_of(self, sample: Sample) -> list[Sample]:
        """The completions of the same prompt, itself included."""
        return [other for other in self.samples if other.group == sample.group]


def sample_files(folder: Path, kind: str = "step") -> dict[int, Path]:
    """The files of a kind, `step` or `evaluation`, by step, in rising order."""
    found = {}
    for path in folder.glob(f"{kind}-*.jsonl"):
        number = path.stem.removeprefix(f"{kind}-")
        if number.isdecimal():
            found[int(number)] = path
    return dict(sorted(found.items()))


def read_samples(path: Path, step: int) -> StepSamples:
    """Reads a file as far as it can be read."""
    samples: list[Sample] = []
    faults, left_out = 0, 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.strip():
                continue
            if len(samples) >= MOST_LINES:
                left_out += 1
                continue
            try:
                samples.append(_sample(json.loads(line), len(samples)))
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                faults += 1
    return StepSamples(step, tuple(samples), faults, left_out)


def _sample(row: Mapping[str, Any], number: int) -> Sample:
    rewards = {str(name): _score(value) for name, value in row["rewards"].items()}
    if not rewards:
        raise ValueError("no reward")
    tokens, failed = row.get("tokens"), row.get("failed")
    turns: Sequence[Mapping[str, Any]] = row.get("turns") or ()
    return Sample(
        number=number,
        group=int(row["group"] if "group" in row else row["prompt_row"]),
        prompt=str(row.get("prompt", "")),
        completion=str(row.get("completion", "")),
        status=str(row.get("status") or ("truncated" if row.get("truncated") else "")),
        tokens=None if tokens is None else _count(tokens),
        rewards=rewards,
        contributions={str(name): float(value) for name, value in (row.get("contributions") or {}).items()},
        advantage=_score(row.get("advantage")),
        failed=None if failed is None else tuple(map(str, failed)),
        columns=dict(row.get("columns") or {}),
        conditioned={str(name): _score(value) for name, value in (row.get("conditioned") or {}).items()},
        turns=tuple(dict(turn) for turn in turns),
        left_out=bool(row.get("left_out")),
        weights={str(name): float(value) for name, value in (row.get("weights") or {}).items()},
        bounds={str(name): (float(low), float(high)) for name, (low, high) in (row.get("bounds") or {}).items()},
        turn_advantages=tuple(map(float, row.get("turn_advantages") or ())),
        fates=_fates(row),
        pieces=_pieces(row),
    )


def _fates(row: Mapping[str, Any]) -> dict[str, int]:
    if "fates" in row:
        return {str(fate): int(count) for fate, count in row["fates"].items()}
    return {fate: 0 for fate, _ in _pieces(row)}


def _pieces(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    if "fate" in row:
        return ((str(row["fate"]), str(row.get("completion", ""))),)
    return tuple((str(fate), str(text)) for fate, text in row.get("pieces") or ())


def _count(value: Any) -> int:
    """A number of tokens; what no completion can have is no sample."""
    number = int(value)
    if not 0 <= number < MOST_TOKENS:
        raise ValueError(f"{number} tokens")
    return number


def _score(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None
