"""Processor time of grading: numbers, the adversarial pairs of the tests, and right answers beside costly ones.

    python plugins/morl-math/benchmarks/grade.py [--peer]

Prints one line per workload: answers, seconds of processor time of this process and its workers, answers per second of
it, and how many scores are right.  `--peer` adds math-verify as it comes, which limits its time by SIGALRM.  Processor
time is what a busy machine does not change much; starting the worker processes is part of it and printed apart.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from morl.types import Completion, Prompt
from morl_math.rewards import MathCorrectness

Pair = tuple[str, str, bool]
PAIRS = Path(__file__).parents[1] / "tests" / "data" / "pairs.jsonl"


def main() -> None:
    """Runs the workloads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="store_true", help="math-verify on the same pairs")
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in PAIRS.open(encoding="utf-8")]
    numbers = [(str(7 * n), f"{7 * n + n % 2:,}.0", n % 2 == 0) for n in range(20_000)]
    pairs = [(row["gold"], row["answer"], row["equal"]) for row in rows if row["kind"] != "bombs"]
    bombs = [("5", f"{n}^{{9^{{9^9}}}}", False) for n in range(2, 26)]
    bombs += [(f"x+{n}", f"{n + 1}+x-1", True) for n in range(24)]
    reward = MathCorrectness(mode="boxed", workers=2, time_limit=0.6, batch_limit=600.0)
    score(reward, [("y+1", "1+y", True)])  # the start
    print(f"{'start of a worker':<20} {processor_seconds():8.2f} s")
    for name, workload in {"numbers": numbers, "pairs": pairs, "24 bombs of 48": bombs}.items():
        report(name, workload, lambda workload: score(reward, workload))
    if arguments.peer:
        report("math-verify, numbers", numbers[:2000], peer)
        report("math-verify, pairs", pairs, peer)


def report(name: str, workload: Sequence[Pair], grade: Callable[[Sequence[Pair]], list[bool]]) -> None:
    """Grades a workload and prints its line."""
    before = processor_seconds()
    verdicts = grade(workload)
    seconds = processor_seconds() - before
    right = sum(verdict == pair[2] for verdict, pair in zip(verdicts, workload, strict=True))
    accepted = sum(verdict and not pair[2] for verdict, pair in zip(verdicts, workload, strict=True))
    print(
        f"{name:<20} {len(workload):6} answers {seconds:8.2f} s {1000 * seconds / len(workload):9.3f} ms each"
        f" {len(workload) / seconds:9.0f} /s {right:6} right {accepted:4} wrongly accepted"
    )


def score(reward: MathCorrectness, workload: Sequence[Pair]) -> list[bool]:
    """Verdicts of the reward; a failure is no acceptance."""
    completions = [
        Completion(Prompt("?", {"answer": reference}), rf"\boxed{{{answer}}}", (1,))
        for reference, answer, _ in workload
    ]
    return [score == 1.0 for score in reward.score(completions)]


def peer(workload: Sequence[Pair]) -> list[bool]:
    """Verdicts of math-verify with its defaults."""
    from math_verify import parse, verify

    return [bool(verify(parse(f"${gold}$"), parse(rf"\boxed{{{answer}}}"))) for gold, answer, _ in workload]


def processor_seconds() -> float:
    """Of this process and all that it started."""
    ticks = 0
    waiting = [os.getpid()]
    while waiting:
        pid = waiting.pop()
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            for thread in Path(f"/proc/{pid}/task").iterdir():
                waiting += [int(child) for child in (thread / "children").read_text().split()]
        except FileNotFoundError:
            continue
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
