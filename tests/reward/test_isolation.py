"""Reward functions in worker processes: real processes that crash, hang, leak and are left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest
from attrs import evolve
from processes import runs, until

from morl.errors import ConfigError
from morl.isolation import ProcessPool, WorkerDied
from morl.reward import FunctionReward, RewardEntry, RewardScorer
from morl.types import Completion, Prompt

REWARDS = '''
import os, re, signal, sys, time

CALLS = []

def compute_score(solution_str, ground_truth, extra_info=None):
    CALLS.append(solution_str)
    match solution_str:
        case "crash": os.kill(os.getpid(), signal.SIGSEGV)
        case "exit": os._exit(3)
        case "sys.exit": sys.exit(3)
        case "regex": re.match(r"(a+)+$", "a" * 60 + "b")
        case "hang": time.sleep(3600)
        case "raise": raise KeyError("answer")
        case "leak":
            held = []
            while True: held.append(bytearray(10**7))
        case "unpicklable": return lambda: 1
        case "pid": return float(os.getpid())
        case "calls": return float(len(CALLS))
        case "torch": return float("torch" in sys.modules)
        case "child":
            import subprocess
            child = subprocess.Popen(["sleep", "3600"])
            open(ground_truth, "w").write(str(child.pid))
            time.sleep(3600)
    return float(solution_str == ground_truth)

def alarmed(solution_str, ground_truth):
    """As a grader with a time limit of its own, which needs the main thread."""
    signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.alarm(60)
    signal.alarm(0)
    return float(solution_str == ground_truth)

def hides(solution_str, ground_truth):
    """As a library that takes any error for 'cannot be read'."""
    try:
        return alarmed(solution_str, ground_truth)
    except ValueError:
        return 0.0

def lengths(completions, **columns):
    return [float(len(text)) for text in completions]

async def later(solution_str, ground_truth):
    return float(solution_str == ground_truth)
'''


@pytest.fixture
def path(tmp_path):
    (tmp_path / "graders.py").write_text(REWARDS)
    return str(tmp_path / "graders.py")


@pytest.fixture
def score(path):
    """Scores of texts by a function of the file; the right answer is "4"."""
    scorers = []

    def run(name, *texts, timeout=600.0, **options):
        scorer = RewardScorer({"r": RewardEntry(FunctionReward(f"{path}:{name}", **options), timeout=timeout)})
        scorers.append(scorer)
        return scorer, scorer.score([Completion(Prompt("2+2?", {"ground_truth": "4"}), text, ()) for text in texts])

    yield run
    for scorer in scorers:
        scorer.close()


def scores_of(found):
    _, scores = found
    return [
        None if failed else value
        for value, failed in zip(scores.values_BK[:, 0].tolist(), scores.failed_BK, strict=True)
    ]


@pytest.mark.parametrize("end", ["crash", "exit", "sys.exit", "raise", "leak", "unpicklable"])
def test_whatever_ends_a_worker_is_the_failure_of_one_completion(score, end):
    assert scores_of(score("compute_score", "4", end, "4", "5", isolate="process", memory_limit=300)) == [1, None, 1, 0]


def test_failures_say_what_happened(score, caplog):
    score("compute_score", "crash", isolate="process")
    assert "WorkerDied: the worker process was ended by SIGSEGV before it answered" in caplog.text
    score("compute_score", "exit", isolate="process")
    assert "ended with exit code 3" in caplog.text
    score("compute_score", "raise", isolate="process")
    assert "KeyError: 'answer'" in caplog.text
    assert "in the worker process:" in caplog.text
    assert "in compute_score" in caplog.text, "with the traceback from there"
    score("compute_score", "leak", isolate="process", memory_limit=300)
    assert "MemoryError: the memory limit was reached" in caplog.text


@pytest.mark.parametrize("hang", ["regex", "hang"])
def test_what_holds_the_interpreter_is_stopped_at_the_time_limit(score, caplog, hang):
    scorer, _ = found = score("compute_score", hang, timeout=5.0, isolate="process", concurrency=1)
    assert scores_of(found) == [None]
    assert "no answer within 5 s" in caplog.text
    assert "goes on in the background" not in caplog.text
    scorer.entries["r"] = evolve(scorer.entries["r"], timeout=600)
    again = scorer.score([Completion(Prompt("2+2?", {"ground_truth": "4"}), text, ()) for text in ("torch",)])
    assert again.values_BK.tolist() == [[0.0]], "the next step has a worker, which has not imported torch"


def test_what_a_stopped_function_started_ends_with_it(score, tmp_path):
    file = tmp_path / "pid"
    scorer, _ = score("compute_score", "4", isolate="process", timeout=15.0)
    scorer.score([Completion(Prompt("?", {"ground_truth": str(file)}), "child", ())])
    child = int(file.read_text())
    assert until(lambda: not runs(child))


def test_workers_are_kept_from_step_to_step(score):
    completions = [Completion(Prompt("?", {"ground_truth": "4"}), "pid", ())]
    scorer, first = score("compute_score", "pid", isolate="process")
    assert scorer.score(completions).values_BK.tolist() == first.values_BK.tolist()
    assert first.values_BK.item() != os.getpid()


@pytest.mark.parametrize("name", ["alarmed", "hides"])
def test_a_function_that_needs_the_main_thread_gets_it(score, caplog, name):
    """Also one that hides it: in a thread it would score 0 for a right answer."""
    assert scores_of(score(name, "4", "5", isolate="thread")) == ([None, None] if name == "alarmed" else [0, 0])
    assert scores_of(score(name, "4", "5")) == [1, 0]
    assert "sets a signal handler" in caplog.text
    assert signal.signal.__module__ == "signal"
    assert scores_of(score(name, "4", "5", isolate="process")) == [1, 0]


def test_math_verify_as_it_comes(score, path):
    """Its defaults set an alarm: 1.0 in a main thread, nothing at all in another."""
    pytest.importorskip("math_verify")
    with open(path, "a") as file:
        file.write(
            "\ndef verified(solution_str, ground_truth):\n"
            "    from math_verify import parse, verify\n"
            "    return float(verify(parse(f'${ground_truth}$'), parse(f'${solution_str}$')))\n"
        )
    assert scores_of(score("verified", "2+2", "5")) == [1, 0]


def test_other_forms_run_in_workers_too(score, path):
    assert scores_of(score("later", "4", "5", isolate="process")) == [1, 0]
    assert scores_of(score("lengths", "4", "four", isolate="process")) == [1, 4]


def test_one_slow_completion_loses_one_score(score):
    texts = ["4", "hang", "4", "5"]
    found = score("compute_score", *texts, timeout=15.0, isolate="process", concurrency=2)
    assert scores_of(found) == [1, None, 1, 0]


def test_no_process_outlives_its_pool(path):
    with ProcessPool(f"{path}:compute_score") as pool:
        pid = int(pool.call({"solution_str": "pid", "ground_truth": ""}))
        assert runs(pid)
    assert not runs(pid)


@pytest.mark.parametrize("end", ["finish", "raise", "SIGINT", "SIGTERM", "SIGKILL"])
def test_no_process_outlives_its_parent(path, end):
    program = textwrap.dedent("""
        import os, sys, time
        from morl.isolation import ProcessPool

        pool = ProcessPool(sys.argv[1])
        print(int(pool.call({"solution_str": "pid", "ground_truth": ""})), flush=True)
        if sys.argv[2] == "raise":
            raise OSError("no")
        if sys.argv[2].startswith("SIG"):
            time.sleep(3600)
    """)
    command = [sys.executable, "-c", program, f"{path}:compute_score", end]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        if end.startswith("SIG"):
            parent.send_signal(getattr(signal, end))
        parent.wait()
    assert until(lambda: not runs(worker))


def test_a_worker_that_died_idle_is_replaced(path):
    with ProcessPool(f"{path}:compute_score") as pool:
        pid = int(pool.call({"solution_str": "pid", "ground_truth": ""}))
        os.kill(pid, signal.SIGKILL)
        assert until(lambda: not runs(pid))
        assert int(pool.call({"solution_str": "pid", "ground_truth": ""})) != pid
        with pytest.raises(WorkerDied):
            pool.call({"solution_str": "exit", "ground_truth": ""})


def test_a_function_that_no_process_can_import_is_refused_before_the_run():
    def local(solution_str, ground_truth):
        return 1.0

    with pytest.raises(ConfigError, match="isolate: process needs a function that another process can import"):
        FunctionReward(local, isolate="process")

    # In a thread, and needing the main thread: it cannot work, and says so.
    def alarm(solution_str, ground_truth):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    scorer = RewardScorer({"r": RewardEntry(FunctionReward(alarm))})
    with pytest.raises(Exception, match=r"sets a signal handler.*main thread.*worker process"):
        scorer.score([Completion(Prompt("?", {"ground_truth": ""}), "", ())])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"isolate": "proces"}, "unknown isolate 'proces'; did you mean 'process'"),
        ({"memory_limit": 0}, "memory_limit of the function .* must be a whole number from 1, or null; got 0"),
        ({"concurrency": 0}, "concurrency of the function .* must be a whole number from 1"),
    ],
)
def test_wrong_options_are_refused(path, options, message):
    with pytest.raises(ConfigError, match=message):
        FunctionReward(f"{path}:compute_score", **options)
    with pytest.raises(ConfigError, match="concurrency=2 has no effect"):
        FunctionReward(f"{path}:lengths", concurrency=2)
