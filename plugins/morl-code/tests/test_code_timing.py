"""Limits count what a program computes, not what others leave it of the processors."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from morl_code.judge import FunctionTest, Judge, Limits, Program, StdioTest, Verdict
from morl_code.sandbox.timing import Clock

_COMPUTE = "import time\ndef compute(seconds):\n    while time.process_time() < seconds: pass\n"


@pytest.fixture
def busy() -> Iterator[None]:
    """Two processes for every processor do nothing but take it away; they end by themselves after a minute."""
    count = 2 * len(os.sched_getaffinity(0))
    source = "import time\nend = time.time() + 60\nwhile time.time() < end: pass"
    others = [subprocess.Popen([sys.executable, "-c", source]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def test_a_busy_machine_fails_no_right_program(busy: None) -> None:
    workers = 2 * len(os.sched_getaffinity(0))
    script = Program(_COMPUTE + "compute(0.6)\nprint(input())", [StdioTest("a", "a")])
    function = Program(_COMPUTE + "def f(x):\n    compute(0.6)\n    return x", [FunctionTest("assert f(1) == 1")])
    with Judge(limits=Limits(wall=1, total=2), workers=workers) as judge:
        verdicts = judge.run([script, function] * (workers // 2))
    assert [isinstance(v, Verdict) and v.errors for v in verdicts] == [(None,)] * workers


def test_cases_of_a_program_have_a_limit_each() -> None:
    """One process computes for all of them; together they take more than one may."""
    source = "import time\ndef f():\n    end = time.process_time() + 0.4\n    while time.process_time() < end: pass"
    with Judge(limits=Limits(wall=0.8, total=20), workers=1) as judge:
        (verdict,) = judge.run([Program(source, [FunctionTest("f()")] * 4)])
    assert isinstance(verdict, Verdict)
    assert verdict.errors == (None,) * 4


@pytest.mark.parametrize(
    "source",
    [
        "while True: pass",
        "import time\ntime.sleep(100)",
        "import time\nwhile True: time.sleep(0.01)",
        "import threading\nthreading.Lock().acquire() and threading.Event().wait()",
        _COMPUTE + "compute(0.2)\ntime.sleep(100)",
    ],
)
def test_what_computes_or_waits_too_long_ends(source: str) -> None:
    with Judge(limits=Limits(wall=0.5, total=3), workers=1) as judge:
        (script, module) = judge.run([Program(source, [StdioTest("", "")]), Program(source, [FunctionTest("pass")])])
    assert isinstance(script, Verdict)
    assert isinstance(module, Verdict)
    assert script.errors == module.errors == ("timed out after 0.5 s",)


class Others:
    """A clock's view of processes whose use is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.computed = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "clock_gettime", lambda _: self.computed)

    def work(self, clock: Clock, seconds: float, share: float) -> bool:
        """So many seconds with this share of a processor; true as soon as the case is over its limit."""
        for _ in range(round(seconds / 0.1)):
            self.now += 0.1
            self.computed += share * 0.1
            if clock.is_over():
                return True
        return False


def test_the_share_of_a_processor_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    for share, seconds in ((1.0, 1.0), (0.5, 2.0), (0.1, 10.0), (0.04, 20.0), (0.02, 1.0), (0.0, 1.0)):
        others = Others(monkeypatch)
        clock = Clock([1], limit=1.0, total=100.0)
        assert not others.work(clock, seconds - 0.2, share)
        assert others.work(clock, 0.4, share)
        assert clock.waits == (share < 0.025)


def test_a_machine_that_stood_still_is_no_program_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    others = Others(monkeypatch)
    clock = Clock([1], limit=1.0, total=100.0)
    assert not others.work(clock, 0.3, 1.0)
    others.now += 60.0
    assert not clock.is_over()
    assert not others.work(clock, 0.5, 1.0)


def test_cases_are_charged_for_what_they_used(monkeypatch: pytest.MonkeyPatch) -> None:
    others = Others(monkeypatch)
    clock = Clock([1], limit=1.0, total=2.0)
    others.work(clock, 0.5, 1.0)
    clock.next_case()
    others.work(clock, 2.0, 0.1)
    clock.next_case()
    assert others.work(clock, 5.0, 0.0)
    clock.end()
    assert clock.cases == pytest.approx([0.5, 0.2, 1.0], abs=0.11)
    assert clock.limit == pytest.approx(1.0)
