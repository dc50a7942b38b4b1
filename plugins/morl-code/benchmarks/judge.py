"""How many programs a second the judge runs.

    python plugins/morl-code/benchmarks/judge.py --programs=1000 --workers=2

Short and correct programs with three function tests; with one test on standard input; and the first kind again, with
every fiftieth program one that never ends.  The processor time is that of the judged processes and their zygotes; on a
machine that has other work to do it says more than the time that passed.
"""

from __future__ import annotations

import argparse
import resource
import time

from morl_code.judge import FunctionTest, Judge, Limits, Program, StdioTest, Verdict


def function_program(number: int) -> Program:
    source = f"""
from collections import Counter
from typing import List


def most_common(items: List[int]) -> int:
    return Counter(items).most_common(1)[0][0] + {number}
"""
    cases = [([1, 2, 2], 2), ([3], 3), ([5, 4, 5, 4, 5], 5)]
    return Program(
        source, [FunctionTest(f"assert most_common({items}) == {result + number}") for items, result in cases]
    )


def script_program(number: int) -> Program:
    source = f"import sys\nprint(sum(map(int, sys.stdin.read().split())) + {number})\n"
    return Program(source, [StdioTest("1 2 3\n4\n", f"{10 + number}\n")])


def endless_program(number: int) -> Program:
    return Program("def most_common(items):\n    while True: pass", function_program(number).tests)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--isolation", default="auto")
    options = parser.parse_args()
    kinds = {
        "three function tests": [function_program(n) for n in range(options.programs)],
        "one standard input": [script_program(n) for n in range(options.programs)],
        "one in 50 never ends": [
            function_program(n) if n % 50 else endless_program(n) for n in range(options.programs)
        ],
    }
    for kind, programs in kinds.items():
        used = _processor_time()
        began = time.perf_counter()
        limits = Limits(wall=1, total=2)
        with Judge(limits=limits, workers=options.workers, isolation=options.isolation) as judge:
            verdicts = judge.run(programs)
            level = judge.isolation
        seconds = time.perf_counter() - began
        used = _processor_time() - used
        passed = sum(isinstance(verdict, Verdict) and verdict.share == 1.0 for verdict in verdicts)
        print(
            f"{kind} ({level}): {len(programs)} programs, {passed} passed, in {seconds:.1f} s"
            f" with {options.workers} workers: {len(programs) / seconds:.0f} a second,"
            f" {1000 * used / len(programs):.1f} ms of processor time each"
        )


def _processor_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
