"""Programs that run by themselves: nothing of the sandbox shows that a right program would stumble over."""

# ruff: noqa: E501 - a program is one line

from __future__ import annotations

from collections.abc import Iterator

import pytest

from morl_code.judge import FunctionTest, Judge, Limits, Program, StdioTest, Verdict
from morl_code.sandbox import probe

# Each prints the sum of two lines of input.
ADD = {
    "fileinput": "import fileinput\nprint(sum(int(line) for line in fileinput.input()))",
    "argparse": "import argparse\nn = argparse.ArgumentParser()\nn.add_argument('--n')\nn.parse_args()\nprint(sum(map(int, open(0))))",
    "argv": "import sys\nfile = sys.stdin if len(sys.argv) == 1 else open(sys.argv[1])\nprint(sum(map(int, file)))",
    "argv[0]": "import os, sys\nassert os.path.basename(sys.argv[0]).endswith('.py')\nprint(sum(map(int, sys.stdin)))",
    "a file of its own": "import os\nassert os.path.isabs(__file__)\nprint(int(input()) + int(input()))",
    "its own source": "import inspect\ndef f(): return 1\nassert 'return 1' in inspect.getsource(f)\nprint(sum(map(int, open(0))))",
    "a byte order mark": "\ufeffprint(int(input()) + int(input()))",
    "a file that is left open": "import sys\nout = open(1, 'w')\nout.write(str(sum(map(int, sys.stdin))))",
    "os.fdopen": "import os\nout = os.fdopen(1, 'w')\nout.write(str(sum(map(int, os.fdopen(0)))))",
    "sys.__stdout__": "import io, sys\nsys.stdout = io.StringIO()\nsys.__stdout__.write(str(sum(map(int, sys.__stdin__))))",
    "another stdout": "import sys\nsys.stdout = open(1, 'w', buffering=65536)\nprint(sum(map(int, sys.stdin)))",
    "stdout detached": "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.detach())\nprint(sum(map(int, sys.stdin)))",
    "stdout closed": "import sys\nsys.stdout.buffer.write(b'%d' % sum(map(int, sys.stdin.buffer)))\nsys.stdout.close()",
    "stdout gone": "import sys\nprint(sum(map(int, sys.stdin)))\nsys.stdout = None",
    "a logger": "import logging, sys\nlogging.basicConfig(stream=sys.stdout, format='%(message)s', level=20)\nlogging.info(sum(map(int, sys.stdin)))",
    "/dev/stdin": "print(sum(map(int, open('/dev/stdin'))))",
    "/dev/stdin in bytes": "with open('/dev/stdin', 'rb') as file: print(sum(map(int, file)))",
    "/dev/stdin by path": "from pathlib import Path\nprint(sum(map(int, Path('/dev/stdin').read_text().split())))",
    "/dev/stdin by os": "import os\nprint(sum(map(int, os.read(os.open('/dev/stdin', os.O_RDONLY), 99).split())))",
    "/proc/self/fd/0": "print(sum(map(int, open('/proc/self/fd/0'))))",
    "/dev/stdout": "import sys\nout = open('/dev/stdout', 'w')\nprint(sum(map(int, sys.stdin)), file=out)",
    "codecs": "import codecs\nprint(sum(map(int, codecs.open('/dev/stdin', encoding='utf-8'))))",
    "input in bytes": "import io, sys\ninput = io.BytesIO(sys.stdin.buffer.read()).readline\nprint(int(input()) + int(input()))",
    "readline": "from sys import stdin, stdout\nstdout.write(str(int(stdin.readline()) + int(stdin.readline())))",
    "iter": "import sys\nprint(sum(map(int, iter(sys.stdin.readline, ''))))",
    "stdin again": "import sys\nsys.stdin = open(0)\nprint(int(input()) + int(input()))",
    "mmap": "import mmap\nprint(sum(map(int, mmap.mmap(0, 0, access=mmap.ACCESS_READ)[:].split())))",
    "reconfigure": "import sys\nsys.stdout.reconfigure(line_buffering=True)\nprint(sum(map(int, sys.stdin)))",
    "recursion": "import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return n and 1 + f(n - 1)\nassert f(50_000) == 50_000\nprint(sum(map(int, sys.stdin)))",
    "recursion through C": "import functools, sys\nsys.setrecursionlimit(10**6)\n@functools.cache\ndef f(n): return n and 1 + f(n - 1)\nassert f(40_000) == 40_000\nprint(sum(map(int, sys.stdin)))",
    "a thread with a large stack": "import sys, threading\nsys.setrecursionlimit(10**7)\nthreading.stack_size(2**28)\nrun = threading.Thread(target=lambda: print(sum(map(int, sys.stdin))))\nrun.start()\nrun.join()",
    "a larger stack": "import resource, sys\nresource.setrlimit(resource.RLIMIT_STACK, (2**28, -1))\nprint(sum(map(int, sys.stdin)))",
    "asyncio": "import asyncio\nasync def main(): print(int(input()) + int(input()))\nasyncio.run(main())",
    "a destructor": "class Last:\n    def __del__(self): print(self.total)\nlast = Last()\nlast.total = int(input()) + int(input())",
    "__main__": "import __main__\n__main__.x = int(input())\nprint(x + int(input()))",
    "pickle": "import pickle\nclass P: pass\npickle.loads(pickle.dumps(P()))\nprint(int(input()) + int(input()))",
    "names of site": "copyright, credits, license, help, exit, quit\nprint(int(input()) + int(input()))",
    "a signal of its own": "import signal\nsignal.signal(signal.SIGALRM, lambda *a: None)\nsignal.alarm(9)\nprint(int(input()) + int(input()))",
    "an exception at the end": "import sys\nprint(sum(map(int, sys.stdin)))\nsys.exit(0)",
}  # fmt: skip


@pytest.mark.parametrize("level", [*(level for level in probe.LEVELS if not probe.missing(level)), "none"])
def test_programs_run_as_they_do_anywhere(level: str) -> None:
    with Judge(isolation=level, limits=Limits(wall=10, total=10), workers=1) as judge:
        verdicts = judge.run([Program(source, [StdioTest("2\n3\n", "5\n")]) for source in ADD.values()])
    errors = {
        name: verdict.errors if isinstance(verdict, Verdict) else verdict
        for name, verdict in zip(ADD, verdicts, strict=True)
    }
    assert errors == dict.fromkeys(ADD, (None,))


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(limits=Limits(wall=10, total=30), workers=1) as judge:
        yield judge


def run(judge: Judge, program: Program) -> Verdict:
    (verdict,) = judge.run([program])
    assert isinstance(verdict, Verdict), verdict
    return verdict


def test_modules_have_a_file_and_no_arguments_too(judge: Judge) -> None:
    source = "\ufeffimport sys\ndef f(): return len(sys.argv), __file__.endswith('.py'), __name__"
    assert run(judge, Program(source, [FunctionTest("assert f() == (1, True, 'program')")])).passed == (True,)


def test_what_cannot_be_written_out_is_a_bug(judge: Judge) -> None:
    verdict = run(judge, Program("out = open(1, 'w', buffering=2**25)\nout.write('x' * 2**24)", [StdioTest("", "x")]))
    assert (verdict.passed, verdict.ran) == ((False,), False)
    assert "File too large" in str(verdict.errors)


# What judges import --------------------------------------------------------------------------------------------------

LEETCODE = """
class Solution:
    def twoSum(self, nums: List[int], target: int) -> Optional[List[int]]:
        seen = defaultdict(lambda: -inf)
        for at, num in enumerate(nums):
            if seen[target - num] >= 0: return [seen[target - num], at]
            seen[num] = at

    @cache
    def stairs(self, n: int) -> int:
        return 1 if n < 2 else self.stairs(n - 1) + self.stairs(n - 2)

    def smallest(self, nums: List[int], k: int) -> List[int]:
        heapify(nums)
        return [heappop(nums) for _ in range(k)]

    def total(self, head: Optional[ListNode]) -> int:
        return head.val + self.total(head.next) if head else 0

    def power(self, x): return pow(x, 2, 5), gcd(12, x), math.floor(sqrt(x)), bisect_left([1, 3], x), Counter('aab')
"""


def test_programs_may_use_what_judges_import(judge: Judge) -> None:
    tests = [
        "assert Solution().twoSum([2, 7], 9) == [0, 1]",
        "assert Solution().stairs(10) == 89",
        "assert Solution().smallest([3, 1, 2], 2) == [1, 2]",
        "assert Solution().total(None) == 0",
        "assert Solution().power(4) == (1, 4, 2, 2, {'a': 2, 'b': 1})",
    ]
    program = Program(LEETCODE, [FunctionTest(test) for test in tests], imports=True)
    assert run(judge, program).errors == (None,) * len(tests)
    (error, *_) = run(judge, Program(LEETCODE, program.tests)).errors
    assert error == "NameError: name 'List' is not defined"


def test_nothing_of_the_programs_or_of_pythons_is_hidden(judge: Judge) -> None:
    source = "from __future__ import annotations\nCounter = 5\ndef sqrt(x): return 'own'\n" + (
        "def f(x: Undefined): return Counter, sqrt(4), pow(2, 3), compile('1', '', 'eval').co_name, sum([1])\n"
        "def g(): return undefined_name"
    )
    tests = ["assert f(1) == (5, 'own', 8, '<module>', 1)", "g()", "sys.exit", "deque"]
    verdict = run(judge, Program(source, [FunctionTest(test) for test in tests], imports=True))
    assert verdict.errors == (
        None,
        "NameError: name 'undefined_name' is not defined",
        "NameError: name 'sys' is not defined",
        "NameError: name 'deque' is not defined",
    )
