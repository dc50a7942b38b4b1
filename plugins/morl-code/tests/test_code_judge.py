"""What the judge says of programs that do not attack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from morl.errors import ConfigError, DataError, RewardError
from morl_code.judge import FunctionTest, Judge, Limits, Program, StdioTest, Verdict, same_output


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    """Its limits are those of a busy machine; what is to meet one is given to `brief`."""
    with Judge(limits=Limits(wall=60, total=300, cpu=60, memory=512), workers=1) as judge:
        yield judge


@pytest.fixture(scope="module")
def brief() -> Iterator[Judge]:
    with Judge(limits=Limits(wall=0.8, total=60, memory=512), workers=1) as judge:
        yield judge


def run(judge: Judge, source: str, *tests: str | tuple[str, str], **options: object) -> Verdict:
    cases = [FunctionTest(test) if isinstance(test, str) else StdioTest(*test) for test in tests]
    (verdict,) = judge.run([Program(source, cases, **options)])  # type: ignore[arg-type]
    assert isinstance(verdict, Verdict), verdict
    return verdict


# Function tests ------------------------------------------------------------------------------------------------------


def test_cases_count_one_by_one(brief: Judge) -> None:
    source = """
def f(x):
    if x == 1: raise KeyError("one")
    if x == 2:
        while True: pass
    if x == 3: __import__("os")._exit(0)
    return x
"""
    verdict = run(brief, source, *(f"assert f({x}) == {x}" for x in range(5)), "assert f(5) == 6")
    assert verdict.passed == (True, False, False, False, True, False)
    assert verdict.share == 2 / 6
    assert not verdict.ran
    assert verdict.errors == (
        None,
        "KeyError: 'one'",
        "timed out after 0.8 s",
        "the program ended before the tests did",
        None,
        "wrong answer: assert f(5) == 6",
    )


def test_a_wrong_answer_is_no_bug(judge: Judge) -> None:
    verdict = run(judge, "def f(x): return x", "assert f(1) == 1", "assert f(1) == 2, 'should be two'")
    assert (verdict.passed, verdict.ran) == ((True, False), True)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("def f(x) return x", "SyntaxError: expected ':' (<program>, line 1)"),
        ("def f(x):\nreturn x", "IndentationError"),
        ("f = \0", "source code string cannot contain null bytes"),
        ("f = '\ud800'", "UnicodeEncodeError"),
        ("f = " + "(" * 300 + ")" * 300, "SyntaxError: too many nested parentheses"),
        ("raise ValueError('at once')", "ValueError: at once"),
        ("import numpy_that_is_not_there", "ModuleNotFoundError"),
        ("def f(x): return x.y", "AttributeError: 'int' object has no attribute 'y'"),
        ("def f(x): return f(x)", "RecursionError"),
        ("def f(x): assert x > 1", "AssertionError"),
        ("def g(x): return x", "NameError: name 'f' is not defined"),
        ("def f(): return 1", "TypeError: f() takes 0 positional arguments but 1 was given"),
        ("def f(x): return None", "TypeError: 'NoneType' object is not subscriptable"),
        ("input()", "EOFError"),
        ("import sys\nsys.exit(0)", "the program ended itself"),
    ],
)
def test_errors_are_bugs(judge: Judge, source: str, error: str) -> None:
    verdict = run(judge, source, "assert f(1)[0] == 1", "assert f(1)[0] == 2")
    assert (verdict.passed, verdict.ran) == ((False, False), False)
    assert error in (verdict.errors[0] or "")


def test_errors_are_plain_text(judge: Judge) -> None:
    source = "def f(): raise ValueError('a\\n\\x1b[2Jb\\x00' + 'c' * 10**6)"
    (error,) = run(judge, source, "f()").errors
    assert error is not None
    assert error.startswith("ValueError: a  [2Jb cccc")
    assert len(error) == 500


def test_a_program_that_hangs_at_once_is_not_tried_again(brief: Judge) -> None:
    verdict = run(brief, "while True: pass", *["pass"] * 20)
    assert verdict.errors == ("timed out after 0.8 s",) * 20


def test_the_cases_of_a_program_share_a_limit() -> None:
    with Judge(limits=Limits(wall=1, total=2), workers=1) as own:
        verdict = run(own, "import time\ndef f(): time.sleep(600)", *["f()"] * 6)
    late = "not run: the 2 s of all cases were over"
    assert verdict.errors[0] == "timed out after 1 s"
    assert verdict.errors[-1] == late
    assert verdict.passed == (False,) * 6


def test_processor_time_is_limited() -> None:
    with Judge(limits=Limits(wall=120, total=240, cpu=1), workers=1) as own:
        verdict = run(own, "def f():\n    while True: pass", "f()", "pass")
    assert verdict.errors == ("used 1 s of processor time", None)


def test_setup_runs_after_the_program_and_before_each_test(judge: Judge) -> None:
    source = "class Node:\n    def __init__(self, data): self.data, self.next = data, None\n" + (
        "def total(node):\n    return node.data + (total(node.next) if node.next else 0)"
    )
    setup = "root = Node(1)\nroot.next = Node(2)\nbase = 0"
    tests = ("base += 1\nassert base == 1", "base += 1\nassert base == 1", "assert total(root) == 3")
    assert run(judge, source, *tests, setup=setup).share == 1.0
    assert run(judge, source, "pass", setup="raise OSError('no')").errors == ("OSError: no",)


def test_what_tests_may_do_with_results(judge: Judge) -> None:
    source = """
from collections import Counter, deque, namedtuple
import re
Point = namedtuple("Point", "x y")
LIMIT = 3
class Stack:
    size = 2
    def __init__(self, *items, name="stack"): self.items, self.name = list(items), name
    def push(self, item): self.items.append(item); return self
    def __len__(self): return len(self.items)
    def __getitem__(self, at): return self.items[at]
    def __setitem__(self, at, item): self.items[at] = item
    def __iter__(self): return iter(self.items)
    def __str__(self): return f"Stack of {len(self)}"
def identity(x): return x
def count(n):
    for at in range(n): yield at
def find(text): return re.search("a", text)
def fail(kind): raise {"value": ValueError, "key": KeyError, "zero": ZeroDivisionError}[kind]("no " + kind)
def sort(items): items.sort()
def add(table): table["new"] = [1]
def adder(n): return lambda x: x + n
def drop(items, kind): return [item for item in items if not isinstance(item, kind)]
"""
    tests = [
        "assert identity((1, [2.5, {'a': {3}}])) == (1, [2.5, {'a': {3}}])",
        "assert identity(True) is True and identity(None) is None",
        "assert isinstance(identity({1: 2}), dict) and type(identity(1.0)) is float",
        "assert Point(1, 2) == (1, 2)",
        "assert LIMIT == 3",
        "assert list(count(3)) == [0, 1, 2] and sum(count(4)) == 6 and 2 in count(3)",
        "numbers = count(2)\nassert next(numbers) == 0 and next(numbers) == 1 and next(numbers, None) is None",
        "assert find('cat') and not find('dog')",
        "stack = Stack(1, 2, name='s')\nassert len(stack) == 2 and stack[0] == 1 and list(stack) == [1, 2]",
        "stack = Stack(1)\nstack[0] = 5\nstack.name = 'other'\nassert stack[0] == 5 and stack.name == 'other'",
        "assert str(Stack(1)) == 'Stack of 1' and len(Stack().push(4).push(5)) == 2 and Stack.size == 2",
        "stack = Stack()\nassert stack.push(1) is stack and stack == stack and stack != Stack()",
        "items = [3, 1, 2]\nsort(items)\nassert items == [1, 2, 3]",
        "table = {'old': 0}\nadd(table)\nassert table == {'old': 0, 'new': [1]}",
        "assert adder(2)(3) == 5",
        "assert drop([1, 'a', 2.0], str) == [1, 2.0]",
        "try:\n    fail('value')\n    assert False\nexcept ValueError as error:\n    assert str(error) == 'no value'",
        "try:\n    fail('key')\n    assert False\nexcept KeyError as error:\n    assert error.args == ('no key',)",
        "def check(candidate):\n    import random\n    for _ in range(20):\n        x = random.random()\n"
        "        assert abs(candidate(x) - x) < 1e-9\ncheck(identity)",
    ]
    verdict = run(judge, source, *tests)
    assert verdict.errors == (None,) * len(tests)
    assert verdict.ran


@pytest.mark.parametrize(
    ("test", "error"),
    [
        ("f(0)", "ZeroDivisionError: division by zero"),
        ("f(lambda: 0)", "TypeError: function objects cannot be handed to the program; plain values can"),
        ("assert Thing().isidentifier()", "AttributeError: an object of the program's making has no 'isidentifier'"),
        ("assert abs(Thing() - 1) < 2", "TypeError: unsupported operand"),
        ("assert Thing() == Thing()", "wrong answer: assert Thing() == Thing()"),
        ("def helper(x):\n    assert x == 1\nhelper(f(2))", "wrong answer: assert x == 1"),
        ("this is no Python", "SyntaxError"),
        ("raise SystemExit(0)", "SystemExit: 0"),
    ],
)
def test_errors_of_tests_say_what_happened(judge: Judge, test: str, error: str) -> None:
    (text,) = run(judge, "class Thing: pass\ndef f(x): return 1 / x", test).errors
    assert error in (text or "")


def test_an_expected_exception_is_not_that_the_program_is_gone(judge: Judge) -> None:
    tests = [
        "try:\n    f()\nexcept Exception:\n    pass",
        "try:\n    f()\nexcept BaseException:\n    pass",
        "try:\n    f()\nexcept:\n    pass",
    ]
    assert run(judge, "import os\ndef f(): os._exit(0)", *tests).passed == (False,) * 3
    assert run(judge, "def f(): raise OSError", *tests).passed == (True,) * 3


def test_which_names_come_from_the_program(judge: Judge) -> None:
    source = (
        "import math, json as j\nfrom math import floor\ndef sum(a, b): return 'own'\ndef f(): return 1\nbisect = 5"
    )
    assert run(judge, source, "assert sum([1, 2]) == 3", "assert math.floor(1.5) == 1 == floor(1.5)").share == 1.0
    assert run(judge, source, "assert j.dumps([1]) == '[1]'", "assert bisect.bisect([1], 2) == 1").share == 1.0
    assert run(judge, source, "assert sum(1, 2) == 'own'", "assert bisect == 5", names=("sum", "bisect")).share == 1.0
    assert run(judge, source, "f()", names=("sum",)).errors == ("NameError: name 'f' is not defined",)
    assert run(judge, source, "math.floor(1.5)", names=("f",)).errors == ("NameError: name 'math' is not defined",)


def test_a_test_does_not_see_the_names_of_another(judge: Judge) -> None:
    verdict = run(judge, "def f(): return 1", "x = f()", "assert x == 1")
    assert verdict.errors == (None, "NameError: name 'x' is not defined")


def test_results_do_not_change_from_run_to_run(judge: Judge) -> None:
    source = "import random\ndef f(): return [random.random(), list({'a', 'b', 'c', 'd'})]"
    assert (
        run(judge, source, "print(f())\nassert False").errors == run(judge, source, "print(f())\nassert False").errors
    )
    draw = "import random\nprint(random.random(), list({'a', 'b', 'c'}), hash('a'))"
    outputs = set()
    for _ in range(2):
        with Judge(workers=1) as other:
            outputs.add(run(other, draw, ("", "x")).errors)
    assert len(outputs) == 1


# Standard input and output -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "print(int(input()) + int(input()))",
        "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
        "import sys\na, b = map(int, sys.stdin.readlines())\nsys.stdout.write(str(a + b))",
        "print(sum(map(int, open(0))))",
        "import sys\nsys.stdout.buffer.write(b'%d\\n' % sum(map(int, sys.stdin.buffer)))",
        "import os\nos.write(1, str(sum(map(int, os.read(0, os.fstat(0).st_size).split()))).encode())",
        "def main(): print(int(input()) + int(input()))\nif __name__ == '__main__': main()",
        "import threading\ndef main(): print(int(input()) + int(input()))\nthreading.Thread(target=main).start()",
        "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(2**26)\n"
        "t = threading.Thread(target=lambda: print(int(input()) + int(input())))\nt.start()\nt.join()",
        "import atexit\natexit.register(lambda: print(int(input()) + int(input())))",
        "print(int(input()) + int(input()))\nexit()",
        "print(int(input()) + int(input()), end='  \\r\\n\\n')\nraise SystemExit",
        "from dataclasses import dataclass\n@dataclass\nclass Pair:\n    a: int\n    b: int\n"
        "print((lambda p: p.a + p.b)(Pair(int(input()), int(input()))))",
    ],
)
def test_ways_to_read_and_write(judge: Judge, source: str) -> None:
    verdict = run(judge, source, ("2\n3\n", "5\n"), ("-2\n3", "1"))
    assert verdict.errors == (None, None)
    assert verdict.ran


def test_standard_output_is_compared_line_by_line(judge: Judge) -> None:
    verdict = run(judge, "print(input())", ("a b", "a b\n"), ("a b", "a  b"), ("é", "é"), ("x", "X"))
    assert verdict.passed == (True, False, True, False)
    assert verdict.ran
    assert verdict.errors[1] == "wrong answer: 'a b'"


def test_errors_of_scripts_are_bugs(judge: Judge, brief: Judge) -> None:
    for source, error in (
        ("print(5) +", "SyntaxError: invalid syntax"),
        ("print(int(input()))\n1 / 0", "ZeroDivisionError: division by zero"),
        ("print(5)\nexit(3)", "exit code 3"),
        ("print(5)\nimport os\nos.abort()", "died of SIG"),
        ("print(5)\nimport time\ntime.sleep(600)", "timed out after 0.8 s"),
        ("print('x' * 2**24)", "OSError: [Errno 27] File too large"),
        ("x = 'x' * 2**30", "MemoryError"),
    ):
        verdict = run(brief if "timed out" in error else judge, source, ("5", "5"))
        assert (verdict.passed, verdict.ran) == ((False,), False)
        assert error in (verdict.errors[0] or ""), verdict


def test_both_kinds_of_tests_keep_their_order(judge: Judge) -> None:
    source = "def f(): return 1\nif __name__ == '__main__': print('main')"
    verdict = run(judge, source, "assert f() == 1", ("", "main"), "assert f() == 2", ("", "other"), "assert f() == 1")
    assert verdict.passed == (True, True, False, False, True)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a\n", "a", True),
        ("a \nb", "a\nb\n\n", True),
        ("\n\na", "a", True),
        ("a\n\nb", "a\nb", False),
        ("", "\n", True),
        ("0.1", "0.10000001", True),
        ("1e-7 x", "0.0 x", True),
        ("-0.0", "0.0", True),
        ("2.5", "2.6", False),
        ("1450007", "1450000", False),
        ("1000000.5", "1000000.50001", True),
        ("0.5", "0.5  ", True),
        ("a 0.5", "b 0.5", False),
        ("0.5 1", "0.5", False),
        ("0.5  1", "0.50000001 1", False),
        ("1.0\n2.0", "1.00000001\n2.00000001", True),
        ("nan", "0.5", False),
        ("1e999", "2e999", False),
        ("1_0.0", "10.0", False),
        ("0x1.0", "1.0", False),
        ("٣.٥", "3.5", False),
        ("1.5", "v1.5", False),
    ],
)
def test_same_output(one: str, other: str, same: bool) -> None:
    assert same_output(one, other) == same == same_output(other, one)


def test_a_float_for_a_whole_number_is_another_answer() -> None:
    assert not same_output("3.0", "3")
    assert same_output("3", "3.0")
    assert not same_output("3", "3.0", tolerance=0)


# The pool ------------------------------------------------------------------------------------------------------------


def test_verdicts_come_in_order_from_any_number_of_workers_and_callers() -> None:
    programs = [Program(f"def f(): return {n}", [FunctionTest(f"assert f() == {n % 7}")]) for n in range(14)]
    with Judge(workers=2) as judge, ThreadPoolExecutor(2) as threads:
        for verdicts in threads.map(judge.run, [programs, programs]):
            assert [isinstance(v, Verdict) and v.share for v in verdicts] == [1.0] * 7 + [0.0] * 7


def test_no_programs_no_verdicts(judge: Judge) -> None:
    assert judge.run([]) == []


def test_a_closed_judge_is_refused() -> None:
    with Judge(workers=1) as judge:
        pass
    judge.close()
    with pytest.raises(RewardError, match="the judge is closed; make another one"):
        judge.run([])


def test_a_judge_belongs_to_its_process() -> None:
    with Judge(workers=1) as judge:
        pid = os.fork()
        if not pid:
            try:
                judge.run([])
            except RewardError as error:
                os._exit(7 if "belongs to process" in str(error) else 1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_failures_of_the_sandbox_stand_in_place_of_verdicts() -> None:
    with Judge(limits=Limits(memory=2**50), isolation="none", workers=1) as judge:
        (error,) = judge.run([Program("", [FunctionTest("pass")])])
    assert isinstance(error, RewardError)
    assert "could not confine" in str(error)


def test_the_log_says_at_which_level_programs_run(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "morl_code"), Judge() as best, Judge(isolation="none"):
        pass
    first, second = caplog.records
    assert (first.levelname, first.message) == ("INFO", f"generated programs run at isolation {best.isolation!r}")
    assert second.levelname == "WARNING"
    assert "isolation 'none': nothing keeps them from this machine's files" in second.message


# Input that is refused -----------------------------------------------------------------------------------------------


def test_a_program_without_tests_is_refused() -> None:
    with pytest.raises(DataError, match="at least one test case per program, got none"):
        Program("", [])


@pytest.mark.parametrize("tolerance", [-1e-9, 1.0, float("nan")])
def test_a_tolerance_out_of_range_is_refused(tolerance: float) -> None:
    with pytest.raises(DataError, match=r"expected a tolerance in \[0, 1\), got"):
        Program("", [FunctionTest("pass")], tolerance=tolerance)


def test_what_is_no_test_is_refused() -> None:
    with pytest.raises(DataError, match="expected FunctionTest or StdioTest, got str"):
        Program("", ["assert f(1) == 1"])  # type: ignore[list-item]


def test_a_name_is_no_sequence_of_names() -> None:
    with pytest.raises(DataError, match=r"expected a sequence of names, got 'f'; write \('f',\)"):
        Program("", [FunctionTest("pass")], names="f")


@pytest.mark.parametrize("workers", [0, -1, 1.5, True])
def test_impossible_numbers_of_workers_are_refused(workers: int) -> None:
    with pytest.raises(ConfigError, match="workers must be a whole number of at least 1"):
        Judge(workers=workers)


@pytest.mark.parametrize("name", ["cpu", "memory", "output", "folder", "threads"])
def test_limits_are_whole_numbers(name: str) -> None:
    for value in (0, -1, 1.5, True, None):
        with pytest.raises(ConfigError, match=f"limits: {name} must be a whole number of at least 1, got {value}"):
            Limits(**{name: value})


@pytest.mark.parametrize("name", ["wall", "total"])
def test_limits_of_time_are_positive(name: str) -> None:
    for value in (0, -1.0, float("nan"), float("inf"), "5"):
        with pytest.raises(ConfigError, match=f"limits: {name} must be a positive number of seconds, got"):
            Limits(**{name: value})


def test_the_limit_of_all_cases_is_not_below_that_of_one() -> None:
    with pytest.raises(ConfigError, match=r"limits: total \(1 s\) is below wall \(2 s\)"):
        Limits(wall=2, total=1)
