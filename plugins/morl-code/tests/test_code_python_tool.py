"""Python as a tool: variables stay, every end has an answer, and a closed episode leaves nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from processes import until, with_mark

from morl.errors import ConfigError, RewardError
from morl.testing import check_environment
from morl.types import EnvironmentAnswer, Message, Prompt
from morl_code.python_tool import PythonEpisode, PythonSandbox
from morl_code.sandbox import probe
from morl_code.sandbox import session as sandbox_session
from morl_code.sandbox.client import LocalSandbox
from morl_code.sandbox.limits import Limits
from morl_code.sandbox.process import Process
from morl_code.sandbox.sessions import Sandboxes, Session

FOUND = [level for level in probe.LEVELS if not probe.missing(level)]
PATIENT = {"seconds": 60.0, "total_seconds": 300.0}
"""Of calls that must come to their end, on a busy machine too."""


def mark(number: int) -> float:
    """Seconds of all calls that only the sandboxes of one test of this process have in their command line."""
    return 300 + number + (os.getpid() % 100_000) / 1e6


def own_processes(number: int) -> set[int]:
    return with_mark(mark(number))


def stopped(number: int) -> dict[int, int]:
    """Processor time of those of a test's processes that are stopped, in ticks of the kernel, by process."""
    found = {}
    for pid in own_processes(number):
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if state == "T":
            found[pid] = int(numbers[10]) + int(numbers[11])
    return found


def reply(*codes: str, name: str = "python", **arguments: Any) -> Message:
    given = [{"code": code} for code in codes] or [arguments]
    calls = [
        {"type": "function", "id": str(place), "function": {"name": name, "arguments": each}}
        for place, each in enumerate(given)
    ]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def said(episode: PythonEpisode, *codes: str) -> str:
    (message,) = episode.step(reply(*codes)).messages
    return str(message["content"])


@pytest.fixture(scope="module", params=FOUND)
def environment(request: pytest.FixtureRequest) -> Iterator[PythonSandbox]:
    found = PythonSandbox(isolation=request.param, memory=256, output=200, **PATIENT)
    yield found
    found.close()


@pytest.fixture
def episode(environment: PythonSandbox) -> Iterator[PythonEpisode]:
    found = environment.open(Prompt("?"), 3)
    yield found
    found.close()


def test_variables_stay_and_the_last_value_is_shown(episode: PythonEpisode) -> None:
    assert said(episode, "def double(x): return 2 * x\ny = 4") == "[no output]"
    assert said(episode, "print('now')\ndouble(y)") == "now\n8\n"
    assert said(episode, "class C: pass\nimport math") == "[no output]"
    assert said(episode, "C.__name__, math.floor(2.5), __name__") == "('C', 2, '__main__')\n"
    assert said(episode, "import sys; print('err', file=sys.stderr); None") == "err\n"


def test_random_follows_from_the_seed(environment: PythonSandbox) -> None:
    drawn = []
    for seed in (3, 4, 3):
        episode = environment.open(Prompt("?"), seed)
        drawn.append(said(episode, "import random; random.random()"))
        episode.close()
    assert drawn[0] == drawn[2] != drawn[1]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (
            "x = 1\n1 / 0",
            'Traceback (most recent call last):\n  File "<call 1>", line 2, in <module>\n    1 / 0\n',
        ),
        ("  x", '  File "<call 1>", line 1\n    x\nIndentationError: unexpected indent'),
        ("f(", "SyntaxError: '(' was never closed"),
        ("a\0b", "SyntaxError: source code string cannot contain null bytes"),
        ("input()", "EOFError: EOF when reading a line"),
        ("raise SystemExit('over')", "over\n"),
        ("open('/etc/passwd')", "Error: [Errno "),
        ("import os; os.fork()", "PermissionError: [Errno 1] Operation not permitted"),
        ("x = [0] * 10**9", "MemoryError"),
        ("print('\\ud800')", "surrogates not allowed"),
        ("class E(Exception):\n  def __str__(self): raise self\nraise E", "E: <exception str() failed>"),
        ("import nothing", "ModuleNotFoundError: No module named 'nothing'"),
    ],
)
def test_an_error_is_an_answer_and_variables_stay(episode: PythonEpisode, code: str, text: str) -> None:
    said(episode, "kept = 7")
    answer = said(episode, code.replace("<call 1>", "<call 2>"))
    assert text.replace("<call 1>", "<call 2>") in answer
    assert str(Path(__file__).parents[1]) not in answer
    assert said(episode, "kept") == "7\n"
    assert episode.step(reply("1")).info == {"failed_calls": 1, "processes_ended": 0}


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (
            "print('so far', flush=True)\nimport os; os._exit(3)",
            "so far\n\n[ended with exit code 3; the process is gone",
        ),
        ("import ctypes; ctypes.string_at(0)", "[died of SIGSEGV; the process is gone, and its variables with it]"),
        ("import os; os.close(4)", "[ended with exit code 1; the process is gone"),
        ("import os, sys; sys.stdout.flush(); os.closerange(0, 64)", "[ended with exit code 1; the process is gone"),
    ],
)
def test_a_process_that_ends_is_an_answer_and_the_next_call_begins_anew(
    episode: PythonEpisode, code: str, text: str
) -> None:
    said(episode, "kept = 7")
    assert said(episode, code).startswith(text)
    assert "NameError: name 'kept' is not defined" in said(episode, "kept")
    assert said(episode, "1 + 1") == "2\n"


@pytest.mark.parametrize(
    "code", ["while True: pass", "import time; time.sleep(9999)", "import os; os.read(4, 1)", "9**9**9"]
)
def test_a_call_over_its_limit_is_ended(code: str) -> None:
    environment = PythonSandbox(seconds=0.3, total_seconds=PATIENT["total_seconds"])
    episode = environment.open(Prompt("?"), 0)
    assert said(episode, code) == "[timed out after 0.3 s; the process is gone, and its variables with it]"
    assert said(episode, "1") == "1\n"
    episode.close()
    environment.close()


def test_a_program_that_reads_the_link_runs_no_further_when_it_is_ended() -> None:
    """However long the kill takes to come: what it would print then is no part of the answer."""
    ours, theirs = socket.socketpair()
    ended, control = socket.socketpair()
    broken, nothing = os.pipe()
    shown = os.memfd_create("shown")
    pid = os.fork()
    if pid == 0:
        ours.close()
        os.setpgid(0, 0)
        while theirs.recv(1):
            pass
        os.write(shown, b"went on")
        os._exit(0)
    theirs.close()
    os.close(nothing)

    class Late(Process):
        def end(self) -> tuple[int, float, str]:
            time.sleep(0.2)
            return super().end()

    assert sandbox_session.Session(Late(pid, broken), ours, control).end()[0] == -signal.SIGKILL
    assert os.fstat(shown).st_size == 0
    assert ours.fileno() == -1  # and then it is closed
    os.close(shown)
    ended.close()
    control.close()


def test_calls_after_the_limit_of_all_are_not_run() -> None:
    environment = PythonSandbox(seconds=0.3, total_seconds=0.3)
    episode = environment.open(Prompt("?"), 0)
    answer = episode.step(reply("while True: pass", "1", "2"))
    assert "timed out after 0.3 s" in answer.messages[0]["content"]
    assert [message["content"] for message in answer.messages[1:]] == [
        "[not run: the 0.3 s of all calls are used up]"
    ] * 2
    episode.close()
    environment.close()


def test_of_much_output_the_ends_are_shown(episode: PythonEpisode) -> None:
    assert (
        said(episode, "print('a' * 1000 + 'b' * 1000)") == f"{'a' * 100}\n[.. 1801 bytes are left out ..]\n{'b' * 99}\n"
    )
    answer = said(episode, "print('x' * 10**8)")
    assert len(answer) < 400
    assert answer.endswith("[more than 8 MiB: the rest is lost]")
    assert said(episode, "1") == "1\n"  # nothing is left over for the next call
    assert said(episode, "print('\\N{SNOWMAN}' * 100)").count("\N{SNOWMAN}") in range(64, 68)


@pytest.mark.parametrize("isolation", FOUND)
def test_nothing_computes_between_calls(isolation: str) -> None:
    environment = PythonSandbox(isolation=isolation, seconds=60, total_seconds=mark(7))
    episode = environment.open(Prompt("?"), 0)
    count = "import threading\nn = 0\ndef count():\n  global n\n  while True: n += 1\n"
    said(episode, count + "threading.Thread(target=count, daemon=True).start()")
    assert until(lambda: bool(stopped(7)), 60)
    before = stopped(7)
    time.sleep(0.3)
    assert stopped(7) == before
    assert int(said(episode, "n")) > 0
    episode.close()
    environment.close()


def test_standard_files_that_were_closed_are_there_again(episode: PythonEpisode) -> None:
    assert said(episode, "import sys; sys.stdout.close(); exit()") == "[no output]"
    assert said(episode, "print(1)") == "1\n"


def test_answers_out_of_turn_are_the_programs_own_loss(environment: PythonSandbox, episode: PythonEpisode) -> None:
    """The files of the session are the process's: what it writes there is what the policy reads, at most."""
    assert said(episode, "import os\nos.write(1, b'own'); os.ftruncate(1, 2); None") == "ow"
    assert said(episode, "os.ftruncate(3, 0); os.write(3, b'x = 5'); None") == "[no output]"
    # Of this call it has said that it is over; what is left of it runs with the next one, whose answer is its own.
    said(episode, "os.write(4, bytes([3, 1])); print('late')")
    assert said(episode, "2").endswith("2\n")
    for garbage in ("b'1' * 1000", "bytes([0, 1] * 500)", "bytes(range(256))"):
        assert said(episode, f"os.write(4, {garbage}); None") == "[no output]"
        assert said(episode, "print('own')") == "own\n"
    other = environment.open(Prompt("?"), 0)
    assert said(other, "2") == "2\n"
    other.close()


def test_other_calls_have_answers(episode: PythonEpisode) -> None:
    contents = [
        episode.step(each).messages[0]["content"]
        for each in (reply("1", name="pyton"), reply(source="1"), reply(code=["1"]), reply(code="1", more=2))
    ]
    assert contents[0] == "[unknown tool 'pyton'; there is python]"
    assert all("takes one argument, code, which is a text; got {" in content for content in contents[1:])
    answer = episode.step(reply("1", "2"))
    assert [(message["tool_call_id"], message["content"]) for message in answer.messages] == [
        ("0", "1\n"),
        ("1", "2\n"),
    ]


def test_the_reward_is_the_share_of_calls_that_ran(episode: PythonEpisode) -> None:
    answers = [episode.step(reply(code)) for code in ("1", "1 / 0", "2")]
    answers.append(episode.step({"role": "assistant", "content": "Done."}))
    assert [answer.done for answer in answers] == [False, False, False, True]
    assert sum(answer.rewards["ran"] or 0.0 for answer in answers) == pytest.approx(2 / 3, abs=1e-11)


def test_an_episode_without_calls_has_no_reward_and_no_process() -> None:
    environment = PythonSandbox(total_seconds=mark(0))
    episode = environment.open(Prompt("?"), 0)
    assert episode.step({"role": "assistant", "content": "Done."}).rewards == {"ran": None}
    assert not own_processes(0)
    environment.close()


def test_a_closed_environment_leaves_no_process() -> None:
    environment = PythonSandbox(total_seconds=mark(1))
    episodes = [environment.open(Prompt("?"), 0) for _ in range(2)]
    for episode in episodes:
        assert said(episode, "x = 1") == "[no output]"
    used = len(own_processes(1))
    for episode in episodes:
        episode.close()
        episode.close()
    third = environment.open(Prompt("?"), 0)
    assert "NameError" in said(third, "x")
    assert 0 < len(own_processes(1)) < used  # a sandbox was used again, its process is a new one
    environment.close()
    third.close()
    assert until(lambda: not own_processes(1))
    with pytest.raises(RuntimeError, match="closed"):
        environment.open(Prompt("?"), 0).step(reply("1"))


def test_episodes_run_side_by_side() -> None:
    environment = PythonSandbox(total_seconds=mark(5), seconds=60)
    episodes = [environment.open(Prompt("?"), seed) for seed in range(6)]

    def run(place: int) -> str:
        for code in (f"x = {place}", "y = x * 10", "y + 1"):
            answer = said(episodes[place], code)
        return answer

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(run, range(6))) == [f"{place * 10 + 1}\n" for place in range(6)]
        list(threads.map(PythonEpisode.close, episodes))
    environment.close()
    assert until(lambda: not own_processes(5))


def test_closing_ends_a_call_that_runs() -> None:
    environment = PythonSandbox(total_seconds=mark(2), seconds=mark(2))
    episode = environment.open(Prompt("?"), 0)
    said(episode, "1")
    found: list[BaseException] = []

    def call() -> None:
        try:
            episode.step(reply("import time; time.sleep(9999)"))
        except RuntimeError as error:
            found.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert until(lambda: episode._session._calling.locked())
    episode.close()
    thread.join(60)
    assert [str(error) for error in found] == ["the session is closed"]
    environment.close()
    assert until(lambda: not own_processes(2))


def test_closing_while_a_call_begins_leaves_nothing() -> None:
    environment = PythonSandbox(total_seconds=mark(6))
    session = Session(environment._sandboxes, 0, 100)
    started = environment._sandboxes._start

    def start() -> LocalSandbox:
        session.close()  # there is no sandbox yet that it could end
        return started()

    environment._sandboxes._start = start
    session.call("1", 60.0)
    assert until(lambda: not own_processes(6))
    with pytest.raises(RewardError, match="the session is closed"):
        session.call("1", 60.0)
    environment.close()


def test_a_sandbox_that_is_killed_fails_the_episode_alone() -> None:
    environment = PythonSandbox(total_seconds=mark(3))
    episode, other = (environment.open(Prompt("?"), 0) for _ in range(2))
    said(episode, "1")
    for process in own_processes(3):
        with contextlib.suppress(ProcessLookupError):  # it went with the one before
            os.kill(process, signal.SIGKILL)
    assert until(lambda: not own_processes(3))
    with pytest.raises(RuntimeError, match="the sandbox"):
        episode.step(reply("1"))
    assert said(other, "2") == "2\n"
    for each in (episode, other):
        each.close()
    environment.close()
    assert until(lambda: not own_processes(3))


def test_nothing_outlives_the_trainer() -> None:
    script = (
        "from morl_code.python_tool import *\n"
        f"episode = PythonSandbox(total_seconds={mark(4)}).open(Prompt('?'), 0)\n"
        "call = {'function': {'name': 'python', 'arguments': {'code': '1'}}}\n"
        "print(episode.step({'tool_calls': [call]}).messages[0]['content'], end='', flush=True)\n"
        "import time; time.sleep(300)"
    )
    trainer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert trainer.stdout is not None
    with trainer.stdout:
        assert trainer.stdout.readline() == b"1\n"
    assert len(own_processes(4)) > 1
    trainer.kill()
    trainer.wait()
    assert until(lambda: not own_processes(4))


def test_sandboxes_of_another_process_are_refused() -> None:
    sandboxes = Sandboxes(lambda: LocalSandbox(FOUND[0], Limits()))
    sandboxes._process += 1
    with pytest.raises(RewardError, match="this is another process"):
        Session(sandboxes, 0, 100).call("1", 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 0.0}, "seconds must be positive"),
        ({"output": 0}, "output must be positive"),
        ({"memory": -1}, "memory must be positive"),
        ({"seconds": 30.0}, "total_seconds must be at least seconds; got 20 and 30"),
        ({"isolation": "namespace"}, r"unknown isolation 'namespace'; did you mean 'namespaces'\?"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PythonSandbox(**options)


def test_a_sandbox_without_sessions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("morl_code.python_tool.choose", lambda _: "my-service")
    with pytest.raises(
        ConfigError, match="'my-service' runs programs, but has no sessions; python-sandbox needs one of"
    ):
        PythonSandbox(isolation="my-service")


def silent(_: Sequence[Message]) -> Message:
    return {"role": "assistant", "content": "Done."}


def counts(messages: Sequence[Message]) -> Message:
    """Three calls that build on each other, one of which fails."""
    number = sum(message["role"] == "tool" for message in messages)
    codes = ("import random\nx = random.random()", "x", "x / 0")
    return reply(codes[number]) if number < 3 else silent(messages)


@pytest.mark.parametrize("policy", [silent, counts])
def test_the_kit_for_environments(policy: Callable[[Sequence[Message]], Message]) -> None:
    check_environment(lambda: PythonSandbox(**PATIENT), [Prompt("a"), Prompt("b")], policy)


def test_answers_are_of_the_contracts_type(episode: PythonEpisode) -> None:
    assert isinstance(episode.step(reply("1")), EnvironmentAnswer)
    assert [tool["function"]["name"] for tool in episode.tools] == ["python"]
