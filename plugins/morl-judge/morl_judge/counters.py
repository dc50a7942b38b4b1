"""What asking a judge has cost so far."""

from __future__ import annotations

from collections import Counter

from attrs import define, field


@define
class Counters:
    """Totals of one judge over the run.

    Attributes:
        requests: sent, retries included.
        retries: of these, those after the first for a completion.
        answers: that came.
        cached: completions whose answer was on disk.
        failures: completions without a grade, by kind; a completion of several grades counts once for each.
        prompt_tokens: as the server counts them.
        completion_tokens: likewise.
        seconds: that the answered requests took, added up.
        slowest: of these, the longest.
    """

    requests: int = 0
    retries: int = 0
    answers: int = 0
    cached: int = 0
    failures: Counter[str] = field(factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    slowest: float = 0.0

    def __str__(self) -> str:
        mean = self.seconds / self.answers if self.answers else 0.0
        failures = ", ".join(f"{number} {kind}" for kind, number in sorted(self.failures.items())) or "none"
        return (
            f"{self.requests} requests ({self.retries} retries), {self.cached} from the cache; tokens:"
            f" {self.prompt_tokens} in, {self.completion_tokens} out; {mean:.2f} s on average, {self.slowest:.2f} s at"
            f" most; failures: {failures}"
        )
