"""How the time of a step falls with the number of GPUs, and where it stops falling.

    python recipes/scaling.py            print the table
    python recipes/scaling.py --write    write it into docs/explanation/scaling.md

    T(N) = serial + work / N + exchanged bytes(N) / bandwidth

`serial` and `work` follow from two figures of the paper's authors for their tool-calling run, about 2.5 hours on one
A100 and one hour on eight.  So this is a fit to two points and arithmetic from there, not a measurement of morl.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from attrs import frozen

PAGE = Path(__file__).resolve().parents[1] / "docs" / "explanation" / "scaling.md"

STEPS, PARAMETERS = 100, 1.54e9
"""Of the authors' run: Qwen2.5-1.5B, 512 prompts with 4 completions a step."""

HOURS = {1: 2.5, 8: 1.0}
"""Their figures: GPUs -> hours of the run."""

COMPLETIONS, TOKENS, MINI_BATCHES, MICRO_BATCH_TOKENS = 2048, 506, 4, 16384
"""Of a step; tokens that the update computes for each completion: itself, and its share of the prompt."""

WITHIN, BETWEEN = 300e9, 25e9
"""Bytes per second that a GPU receives within a node of eight, and from other nodes.  Assumed."""

MODELS = {"1.5B": 1.54e9, "7B": 7.6e9, "70B": 70e9}
GPUS = (8, 64, 512)


@frozen
class Cost:
    """Seconds of a step.

    Attributes:
        serial: that no number of GPUs shortens: the longest completion, rewards, starting and stopping the engine.
        work: of one GPU, to be shared out: sampling and the update.
    """

    serial: float
    work: float

    @classmethod
    def fitted(cls) -> Cost:
        """Through the authors' two points; within a node what is exchanged is left out, see `bytes_per_step`."""
        one, eight = (hours * 3600 / STEPS for hours in HOURS.values())
        work = (one - eight) / (1 - 1 / 8)
        return cls(one - work, work)

    def seconds(self, parameters: float, gpus: int) -> float:
        """Of a step of a model of so many parameters, whose work is in proportion to them."""
        bandwidth = WITHIN if gpus <= 8 else BETWEEN
        return self.serial + self.shared(parameters) / gpus + bytes_per_step(parameters, gpus) / bandwidth

    def shared(self, parameters: float) -> float:
        """Seconds of one GPU that can be shared out."""
        return self.work * parameters / PARAMETERS

    def saturation(self, parameters: float) -> int:
        """GPUs from which on less than half of a step's time is what they share."""
        return next(n for n in range(1, 1 << 16) if self.shared(parameters) / n < self.seconds(parameters, n) / 2)


def bytes_per_step(parameters: float, gpus: int) -> float:
    """What each GPU receives in a step under `fsdp2`, in float32.

    Every pass gathers the weights forward and backward and scatters the gradients, each (N - 1) / N of the model; a
    rank makes as many passes as its share of a mini-batch fills.  Once a step the engine gets the weights.
    """
    passes = MINI_BATCHES * math.ceil(COMPLETIONS * TOKENS / MINI_BATCHES / gpus / MICRO_BATCH_TOKENS)
    return (3 * passes + 1) * 4 * parameters * (gpus - 1) / gpus


def ddp_bytes_per_step(parameters: float, ranks: int, mini_batches: int) -> float:
    """What each rank receives under `ddp`: gradients in float32, once per mini-batch, by rings."""
    return 2 * (ranks - 1) / ranks * 4 * parameters * mini_batches


def table() -> str:
    """Seconds of a step, and which share of the GPUs' time is work that they share."""
    cost = Cost.fitted()
    lines = [
        f"| model | {' | '.join(f'{gpus} GPUs: s per step (useful)' for gpus in GPUS)} | saturates at |",
        "|---|" + "---|" * (len(GPUS) + 1),
    ]
    for name, parameters in MODELS.items():
        cells = []
        for gpus in GPUS:
            seconds = cost.seconds(parameters, gpus)
            cells.append(f"{_short(seconds)} ({cost.shared(parameters) / gpus / seconds:.0%})")
        lines.append(f"| {name} | {' | '.join(cells)} | {_short(cost.saturation(parameters))} GPUs |")
    return "\n".join(lines)


def with_table(text: str) -> str:
    """The page's text with the table as it is now."""
    begin, end = "<!-- begin scaling -->", "<!-- end scaling -->"
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n\n{table()}\n\n{end}{rest.partition(end)[2]}"


def _short(number: float) -> str:
    """Two digits: more would promise too much."""
    return f"{float(f'{number:.2g}'):g}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())
