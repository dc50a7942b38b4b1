"""No expression stops training: each comparison has its limits, and one that exceeds them fails alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from processes import runs, until

from morl.errors import PluginError
from morl.types import Completion, Prompt
from morl_math.pool import Pool, _Batch
from morl_math.process import UnreadableReference
from morl_math.rewards import MathCorrectness

PATIENCE = 300.0
"""Seconds by the clock that a test gives what should take one: machines that run tests are busy."""

ORDINARY = ("1+x", "x+1")
COSTLY = [
    "9^{9^{9^9}}",
    "1000000000!",
    r"\sum_{n=1}^{10^9} \frac{1}{n^2}",
    r"\binom{10^9}{5 \cdot 10^8}",
]
DEEP = [
    r"\frac{1}{" * 10_000 + "2" + "}" * 10_000,
    r"\sqrt{" * 10_000 + "2" + "}" * 10_000,
    "1+" * 10**6 + "1",
    "9" * 10**6,
    "(" * 300 + "1" + ")" * 300,
]


@pytest.fixture(scope="module")
def pool() -> Pool:
    return Pool(workers=1, time_limit=1.0, memory_limit=1024)


@pytest.mark.parametrize("costly", COSTLY)
def test_a_costly_expression_fails_alone_and_in_time(pool: Pool, costly: str) -> None:
    first, second = ("y+x", "x+y"), ("z+x", "x+z")
    results = pool.compare([first, ("5", costly), second], PATIENCE)
    assert results[first] is results[second] is True
    error = results["5", costly]
    assert isinstance(error, TimeoutError)
    assert "could not be compared with '5' within 1 s" in str(error)


@pytest.mark.parametrize("long", DEEP)
def test_an_endless_answer_is_none(long: str) -> None:
    reward = MathCorrectness(workers=1)
    assert reward.score([Completion(Prompt("?", {"answer": "5"}), rf"\boxed{{{long}}}", (1,))]) == [0.0]
    assert reward._pool._idle == [], "it is refused before anything is computed"


@pytest.mark.parametrize("deep", [r"\frac{1}{" * 100 + "2" + "}" * 100, r"\sqrt{" * 140 + "2" + "}" * 140, "{" * 900])
def test_a_deep_answer_is_never_right(pool: Pool, deep: str) -> None:
    result = pool.compare([("5", deep), ORDINARY], PATIENCE)
    assert result["5", deep] is not True
    assert result[ORDINARY] is True


def test_a_batch_ends_at_its_limit() -> None:
    """Also while an answer is compared: its process is ended, and those behind it have no verdict."""
    pool = Pool(workers=1, time_limit=600.0, memory_limit=1024)
    assert pool.compare([ORDINARY], PATIENCE) == {ORDINARY: True}  # it has started
    pairs = [("5", f"{n}^{{9^{{9^9}}}}") for n in range(2, 100)]
    results = pool.compare(pairs, 1.0)
    assert all(isinstance(error, TimeoutError) for error in results.values())
    assert str(results[pairs[-1]]) == "all answers together took more than 1 s"
    assert pool._idle == []
    assert pool.compare([ORDINARY], PATIENCE) == {ORDINARY: True}


def test_a_process_that_is_not_ready_by_the_limit_is_no_fault_of_the_answers() -> None:
    pool = Pool(workers=1, time_limit=1.0, memory_limit=1024)
    (error,) = pool.compare([ORDINARY], 0.01).values()
    assert isinstance(error, RuntimeError)
    assert str(error) == "no process for mathematics was ready within 0.01 s"
    assert pool.compare([ORDINARY], PATIENCE) == {ORDINARY: True}  # by the same process, which started meanwhile


def test_short_answers_come_first_and_costly_ones_a_second_time() -> None:
    pairs = [("5", "x" * length) for length in (3, 1, 2)]
    batch = _Batch([*pairs, pairs[0]], 6.0, time.monotonic() + PATIENCE)
    turns = []
    while (turn := batch.next()) is not None:
        turns.append((len(turn[0][1]), turn[1]))
        batch.put(*turn, TimeoutError() if len(turn[0][1]) < 3 else True)
    assert turns == [(1, 1.0), (2, 1.0), (3, 1.0), (1, 6.0), (2, 6.0)]
    assert [type(result) for result in batch.all_results(1.0).values()] == [bool, TimeoutError, TimeoutError]


BOMBS = 8
"""Three times as many take a minute."""


def bombs_and_right_answers() -> list[Completion]:
    bombs = [f"{n}^{{9^{{9^9}}}}" for n in range(2, 2 + BOMBS)]
    right = [f"{n}+x-1" for n in range(2, 2 + BOMBS)]
    references = ["5"] * BOMBS + [f"x+{n}" for n in range(1, 1 + BOMBS)]
    return [
        Completion(Prompt("?", {"answer": reference}), rf"\boxed{{{answer}}}", (1,))
        for reference, answer in zip(references, bombs + right, strict=True)
    ]


def test_costly_answers_are_wrong_and_starve_no_right_ones(caplog: pytest.LogCaptureFixture) -> None:
    reward = MathCorrectness(mode="boxed", workers=1, time_limit=0.6, batch_limit=20 * PATIENCE)
    assert reward.score(bombs_and_right_answers()) == [0.0] * BOMBS + [1.0] * BOMBS
    assert f"{BOMBS} of {2 * BOMBS} answers that take algebra were not compared within the limits" in caplog.text


def test_late_answers_can_be_failures() -> None:
    reward = MathCorrectness(mode="boxed", workers=1, time_limit=0.6, batch_limit=20 * PATIENCE, on_late="fail")
    scores = reward.score(bombs_and_right_answers()[BOMBS - 2 : BOMBS + 2])
    assert [type(score) for score in scores] == [TimeoutError, TimeoutError, float, float]


def test_a_reference_that_takes_too_long_is_a_failure() -> None:
    reward = MathCorrectness(mode="boxed", workers=1, time_limit=0.5, batch_limit=20 * PATIENCE)
    costly = Completion(Prompt("?", {"answer": COSTLY[2]}), r"\boxed{5}", (1,))
    (error,) = reward.score([costly])
    assert isinstance(error, UnreadableReference)
    assert "could not be read within 0.5 s" in str(error)


def test_exact_comparisons_need_no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They do not wait for one either: here none can start."""
    (tmp_path / "latex2sympy2_extended.py").write_text("raise ImportError('broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pairs = [("5", "5.0"), ("(1,2)", "(1, 2)"), ("yes", r"\text{No}"), ("5 million", "5"), (r"\frac{1}{3}", "1/3")]
    completions = [
        Completion(Prompt("?", {"answer": reference}), rf"\boxed{{{answer}}}", (1,)) for reference, answer in pairs
    ]
    assert MathCorrectness(workers=1).score(completions) == [1.0, 1.0, 0.0, 0.0, 1.0]


def test_a_worker_without_memory_fails_or_denies_but_never_confirms() -> None:
    pool = Pool(workers=1, time_limit=2.0, memory_limit=128)
    costly = "(x+1)^{5000}"
    results = pool.compare([("5", costly), ORDINARY], PATIENCE)
    assert results["5", costly] is not True
    assert results[ORDINARY] is True


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_child_whose_memory_is_half_full_is_replaced() -> None:
    pool = Pool(workers=1, time_limit=20.0, memory_limit=110)  # sympy takes 70
    seen: list[list[int]] = []
    for n in range(2):
        assert pool.compare([(f"{n}+x", f"x+{n}")], PATIENCE) == {(f"{n}+x", f"x+{n}"): True}
        deadline = time.monotonic() + PATIENCE
        while (now := children(pool._idle[0]._process.pid)) in ([], *seen):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        seen.append(now)
    assert len(pool._idle) == 1


@pytest.mark.parametrize(("by", "kind"), [(signal.SIGSEGV, TimeoutError), (signal.SIGKILL, RuntimeError)])
def test_a_child_that_dies_at_work_fails_its_pair_only(by: signal.Signals, kind: type[Exception]) -> None:
    """By its own fault it is late, and so wrong; ended from outside it is a failure."""
    pool = Pool(workers=1, time_limit=600.0, memory_limit=1024)
    assert pool.compare([ORDINARY], PATIENCE) == {ORDINARY: True}
    costly = ("5", COSTLY[0])
    over = threading.Event()
    killer = threading.Thread(target=kill_children_at_work, args=(pool._idle[0]._process.pid, by, over))
    killer.start()
    results = pool.compare([costly, ORDINARY], PATIENCE)
    over.set()
    killer.join()
    assert type(results[costly]) is kind
    assert results[ORDINARY] is True


def processor_time(pid: int) -> int:
    """Of a process, in ticks of the kernel, a hundredth of a second each."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


def kill_children_at_work(worker: int, by: signal.Signals, over: threading.Event) -> None:
    """Ends each child that has worked for a while: what is late comes again, in the next child."""
    before: dict[int, int] = {}
    while not over.wait(0.01):
        for child in children(worker):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if processor_time(child) >= before.setdefault(child, processor_time(child)) + 20:
                    os.kill(child, by)


def kill_at_work(pid: int, child: int, by: signal.Signals) -> None:
    """Ends an idle process as soon as its child, or it itself, has worked for a while."""
    before = processor_time(child)
    while processor_time(child) < before + 20:
        time.sleep(0.01)
    os.kill(pid, by)


def test_workers_that_die_are_replaced(pool: Pool) -> None:
    assert pool.compare([ORDINARY], PATIENCE) == {ORDINARY: True}
    (worker,) = pool._idle
    os.kill(worker._process.pid, signal.SIGKILL)
    worker._process.wait()
    assert pool.compare([ORDINARY], PATIENCE) == {ORDINARY: True}


def test_a_large_trainer_keeps_its_workers(pool: Pool) -> None:
    """The kernel counts a parent's memory into the peak of what it starts."""
    ballast = b"x" * (600 * 2**20)
    for _ in range(2):
        assert pool.compare([ORDINARY], PATIENCE) == {ORDINARY: True}
        (worker,) = pool._idle
        assert worker.alive
    assert len(ballast) > pool.memory_limit * 2**20 / 2


def test_a_worker_that_is_killed_at_work_fails_its_pair_only() -> None:
    pool = Pool(workers=1, time_limit=600.0, memory_limit=1024)
    assert pool.compare([ORDINARY], PATIENCE) == {ORDINARY: True}
    pid = pool._idle[0]._process.pid
    costly = ("5", COSTLY[0])
    threading.Thread(target=kill_at_work, args=(pid, *children(pid), signal.SIGKILL)).start()
    results = pool.compare([costly, ORDINARY], PATIENCE)
    assert "its process ended with exit code -9" in str(results[costly])
    assert isinstance(results[costly], RuntimeError)
    assert results[ORDINARY] is True


def test_calls_at_the_same_time_do_not_mix() -> None:
    pool = Pool(workers=1, time_limit=20.0, memory_limit=1024)
    wrong: list[object] = []

    def call(n: int) -> None:
        for k in range(5):
            right, other = (f"x+{n}", f"{n}+x"), (f"x+{n}", f"{n + k + 1}+x")
            results = pool.compare([right, other], PATIENCE)
            if results != {right: True, other: False}:
                wrong.append(results)

    threads = [threading.Thread(target=call, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_workers_that_cannot_start_end_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "latex2sympy2_extended.py").write_text("raise ImportError('broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(PluginError, match=r"cannot start: ImportError: broken; its command: .*worker\.py"):
        Pool(workers=2, time_limit=1.0, memory_limit=1024).compare([ORDINARY, ("x", "y")], PATIENCE)


FORKED = """
import os
from morl_math.pool import Pool, _Batch
from morl_math.process import UnreadableReference

pool = Pool(workers=1, time_limit=20.0, memory_limit=1024)
pool.compare([("1+x", "x+1")], 60)
parents = pool._idle[0]._process.pid
child = os.fork()
results = pool.compare([("1+y", "y+1"), ("2+y", "y+1")], 60)
assert list(results.values()) == [True, False]
if child:
    assert os.waitpid(child, 0)[1] == 0
assert (pool._idle[0]._process.pid == parents) == bool(child)
"""


def test_a_forked_process_starts_workers_of_its_own() -> None:
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=2 * PATIENCE)


# What stays behind ---------------------------------------------------------------------------------------------------

TRAINER = """
import signal, sys, threading, time
from morl_math.pool import Pool, _Batch
from morl_math.process import UnreadableReference

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
# Longer than the test may take, so that no limit of the work's own ends it.
pool = Pool(workers=2, time_limit=10_000.0, memory_limit=1024)
pool.compare([("1+x", "x+1"), ("1+y", "y+1")], 60)
print(*(worker._process.pid for worker in pool._idle), flush=True)
if sys.argv[1] == "busy":
    costly = [("5", "9^{9^{9^9}}"), ("6", "8^{9^{9^9}}")]
    threading.Thread(target=pool.compare, args=(costly, 10_000), daemon=True).start()
    time.sleep(0.5)
    print("busy", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("end", ["exit", "kill", "interrupt"])
def test_no_worker_outlives_the_trainer(end: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(TRAINER), "idle" if end == "exit" else "busy"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as trainer:
        assert trainer.stdout is not None
        pids = [int(pid) for pid in trainer.stdout.readline().split()]
        assert len(pids) == 2
        if end != "exit":
            assert trainer.stdout.readline() == "busy\n"
            trainer.send_signal(signal.SIGKILL if end == "kill" else signal.SIGINT)
    assert until(lambda: not any(map(runs, pids)))
