"""Programs that attack: the machine, or the verdict.  Each has to score as failure, and to harm nothing.

Every attack is bounded itself (200 processes or threads, 2 GB, 20 s, victims of the test's own making), so that a hole
fails a test and not the machine; no attack addresses anything but loopback.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from attrs import frozen

from morl_code.judge import FunctionTest, Judge, Limits, Program, StdioTest, Verdict
from morl_code.sandbox import probe

# Only this run's processes have it in their command line.
MARK = 15.0 + (os.getpid() % 100_000) / 1e6
LIMITS = Limits(wall=1, total=MARK, cpu=15, memory=256, output=4, folder=8)
FOUND = [level for level in probe.LEVELS if not probe.missing(level)]
EXPECTED = "expected-8731-a"


def test_this_machine_offers_isolation() -> None:
    for level in set(probe.LEVELS) - set(FOUND):
        warnings.warn(f"attacks on {level!r} are not tested here: {probe.missing(level)}", stacklevel=1)
    assert FOUND, {level: probe.missing(level) for level in probe.LEVELS}


@pytest.fixture(scope="module", params=FOUND)
def judge(request: pytest.FixtureRequest) -> Iterator[Judge]:
    with Judge(isolation=request.param, limits=LIMITS, workers=1) as judge:
        yield judge


@frozen
class Target:
    """What attacks aim at, all of it made by the test."""

    folder: Path
    secret: Path
    port: int
    datagram_port: int
    victim: int


@pytest.fixture
def target(tmp_path: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    """The target; afterwards it must be as before, with no trace of the attack on the machine."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    monkeypatch.setenv("MORL_TEST_SECRET", "secret")
    verdict = judge.run([Program("", [FunctionTest("pass")])])[0]  # the worker runs
    assert isinstance(verdict, Verdict)
    assert verdict.share == 1.0, verdict
    processes, files = own_processes(), secret.stat()
    victim = subprocess.Popen(["sleep", "60"], env={"SECRET": "secret"})
    local = str(tmp_path / "socket")
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        datagrams.bind(("127.0.0.1", 0))
        unix.bind(local)
        abstract.bind(f"\0morl-test-{os.getpid()}")
        for each in (listener, datagrams, unix, abstract):
            each.setblocking(False)
        unix.listen()
        abstract.listen()
        try:
            yield Target(tmp_path, secret, listener.getsockname()[1], datagrams.getsockname()[1], victim.pid)
            assert victim.poll() is None, "another process was killed"
        finally:
            victim.kill()
            victim.wait()
        for each in (listener, unix, abstract):
            with pytest.raises(BlockingIOError):
                each.accept()
        with pytest.raises(BlockingIOError):
            datagrams.recv(1)
    assert own_processes() == processes, "a process was left, or the worker was killed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret", "socket"]
    assert secret.read_text() == "secret"
    after = secret.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_uid) == (files.st_mode, files.st_mtime_ns, files.st_uid)
    everywhere = {name for folder in ("/", "/tmp", "/dev/shm", "/var/tmp") for name in os.listdir(folder)}
    assert not everywhere & {"large", "file-0", "linked", "morl-code-attack"}, "what the attacks call their files"


def until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def own_processes(mark: str = str(MARK)) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark in (entry / "cmdline").read_text():
                    found.add(int(entry.name))
            except OSError:  # ended meanwhile
                continue
    return found


def run(judge: Judge, program: Program) -> Verdict:
    (verdict,) = judge.run([program])
    assert isinstance(verdict, Verdict), verdict
    return verdict


# The machine ---------------------------------------------------------------------------------------------------------

# Each defines f; the attack has done harm when f returns.
HARM = {
    "fork bomb": """
import os, time
def f():
    for _ in range(200):
        if not os.fork():
            time.sleep(20)
            os._exit(0)
    return "harm"
""",
    "fork bomb that swallows errors": """
import os, time
made = 0
def f():
    global made
    for _ in range(200):
        try:
            if not os.fork():
                time.sleep(20)
                os._exit(0)
            made += 1
        except OSError:
            pass
    return "harm" if made else "none"
""",
    "fork by system call": """
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
def f():
    numbers = {"x86_64": (57, 58, 56), "aarch64": (220, 220, 220)}[os.uname().machine]
    for number in numbers:
        pid = libc.syscall(number, 17, 0, 0, 0, 0)
        if pid == 0:
            time.sleep(20)
            os._exit(0)
        if pid > 0:
            return "harm"
    raise OSError("no fork")
""",
    "thread bomb": """
import threading, time
def f():
    for _ in range(200):
        threading.Thread(target=time.sleep, args=(20,), daemon=True).start()
    return "harm"
""",
    "other programs": """
import subprocess
import sys
import time
def f():
    subprocess.run(["/bin/sh", "-c", "true"], check=True)
    return "harm"
""",
    "another program in place of this": """
import os, sys
def f():
    os.execv("/bin/sh", ["sh", "-c", "sleep 20"])
""",
    "memory bomb": """
def f():
    held = [bytearray(2**26) for _ in range(32)]
    return "harm"
""",
    "mapped memory": """
import mmap
def f():
    held = []
    for _ in range(32):
        held.append(mmap.mmap(-1, 2**26))
        held[-1].write(b"x" * 2**26)
    return "harm"
""",
    "memory in anonymous files": """
import os
def f():
    for _ in range(200):
        os.write(os.memfd_create("x"), b"x" * 2**20)
    return "harm"
""",
    "sleeping": """
import time
def f():
    time.sleep(20)
    return "harm"
""",
    "a computation that cannot be interrupted": """
def f():
    return "harm" if 7 ** 30_000_000 else ""
""",
    "ignoring signals": """
import signal, time
for number in range(1, 32):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
def f():
    end = time.time() + 20
    while time.time() < end:
        pass
    return "harm"
""",
    "a large file": """
def f():
    with open("large", "wb") as file:
        for _ in range(2048):
            file.write(b"x" * 2**20)
    return "harm"
""",
    "many files": """
def f():
    for number in range(500):
        with open(f"file-{number}", "wb") as file:
            file.write(b"x" * 2**22)
    return "harm"
""",
    "files everywhere": """
import os
def f():
    written = 0
    for folder in ("/", "/tmp/..", "/dev", "/dev/shm", "/usr", "/usr/lib", "/var/tmp", "/proc", FOLDER, "/root"):
        try:
            path = os.path.join(folder, "morl-code-attack")
            with open(path, "w") as file:
                file.write("x")
            os.unlink(path)
            written += 1
        except OSError:
            pass
    return "harm" if written else "none"
""",
    "the parent's environment": """
import os
def f():
    return "harm" if "secret" in str(os.environ) else "none"
""",
    "the environment of others": """
import os
def f():
    for pid in (os.getppid(), PARENT, VICTIM):
        try:
            return "harm" if open(f"/proc/{pid}/environ").read() else ""
        except OSError:
            pass
    raise OSError("not seen")
""",
    "a secret file": """
def f():
    return "harm" if open(SECRET).read() else ""
""",
    "the users of the machine": """
def f():
    return "harm" if open("/etc/passwd").read() else ""
""",
    "what a file is called": """
import os
def f():
    return "harm" if os.listdir(FOLDER) else ""
""",
    "a link to a secret": """
import os
def f():
    made = 0
    for link in (os.link, os.symlink):
        try:
            link(SECRET, "linked")
            made += bool(open("linked").read())
        except OSError:
            pass
    return "harm" if made else "none"
""",
    "changing a file": """
import os, shutil
def f():
    done = 0
    for change in (
        lambda: os.truncate(SECRET, 0),
        lambda: os.unlink(SECRET),
        lambda: os.rename(SECRET, SECRET + "2"),
        lambda: os.chmod(SECRET, 0o777),
        lambda: os.utime(SECRET, (0, 0)),
        lambda: os.chown(SECRET, 1, 1),
        lambda: os.mkdir(SECRET + "3"),
        lambda: os.setxattr(SECRET, "user.x", b"x"),
        lambda: open(SECRET, "w"),
        lambda: shutil.rmtree(FOLDER),
    ):
        try:
            change()
            done += 1
        except OSError:
            pass
    return "harm" if done else "none"
""",
    "killing the parent": """
import os
def f():
    os.kill(os.getppid(), 9)
    return "harm"
""",
    "killing others": """
import os
def f():
    done = 0
    for kill in (
        lambda: os.kill(VICTIM, 9),
        lambda: os.killpg(VICTIM, 9),
        lambda: os.pidfd_open(VICTIM),
        lambda: os.setpriority(os.PRIO_PROCESS, VICTIM, 19),
        lambda: os.sched_setaffinity(VICTIM, {0}),
        lambda: __import__("resource").prlimit(VICTIM, 7, (0, 0)),
        lambda: os.kill(-1, 0),
    ):
        try:
            kill()
            done += 1
        except OSError:
            pass
    for pid in range(1, 40000):
        try:
            os.kill(pid, 0)
            done += pid != os.getpid()
        except OSError:
            pass
    return "harm" if done else "none"
""",
    "leaving the process group": """
import os
def f():
    done = 0
    for leave in (os.setsid, lambda: os.setpgid(0, 0)):
        try:
            leave()
            done += 1
        except OSError:
            pass
    return "harm" if done else "none"
""",
    "connecting": """
import socket
def f():
    socket.create_connection(("127.0.0.1", PORT), timeout=1).send(b"secret")
    return "harm"
""",
    "sending datagrams": """
import socket
def f():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"secret", ("127.0.0.1", DATAGRAM_PORT))
    return "harm"
""",
    "local sockets": """
import socket
def f():
    done = 0
    for address in (FOLDER + "/socket", f"\\0morl-test-{PARENT}"):
        try:
            socket.socket(socket.AF_UNIX).connect(address)
            done += 1
        except OSError:
            pass
    return "harm" if done else "none"
""",
    "listening": """
import socket
def f():
    socket.create_server(("127.0.0.1", 0))
    return "harm"
""",
    "new namespaces": """
import ctypes
def f():
    libc = ctypes.CDLL(None)
    for flags in (0x10000000, 0x00020000, 0x40000000):
        if libc.unshare(flags) == 0:
            return "harm"
    if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0:
        return "harm"
    raise OSError("not permitted")
""",
    "becoming root": """
import os
def f():
    os.setresuid(0, 0, 0)
    os.setgroups([0])
    return "harm"
""",
    "raising its limits": """
import resource
def f():
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE):
        resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return "harm"
""",
    "debugging": """
import ctypes
def f():
    if ctypes.CDLL(None).ptrace(16, VICTIM, 0, 0) == 0:
        return "harm"
    raise OSError("not permitted")
""",
}


@pytest.mark.parametrize("attack", HARM)
def test_no_harm(attack: str, judge: Judge, target: Target) -> None:
    values = {
        "SECRET": str(target.secret),
        "FOLDER": str(target.folder),
        "PORT": target.port,
        "DATAGRAM_PORT": target.datagram_port,
        "VICTIM": target.victim,
        "PARENT": os.getpid(),
    }
    prologue = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    verdict = run(judge, Program(prologue + HARM[attack], [FunctionTest("assert f() == 'harm'")], names=("f",)))
    assert verdict.passed == (False,), verdict


def test_endless_output_stays_out_of_the_parents_memory(judge: Judge, target: Target) -> None:
    endless = "import time\nend = time.time() + 20\nwhile time.time() < end: print('x' * 2**20)"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for source in (endless, endless.replace("2**20)", "2**20, file=sys.stderr)")):
        verdict = run(judge, Program("import sys\n" + source, [StdioTest("", "x")]))
        assert (verdict.passed, verdict.ran) == ((False,), False)
    verdict = run(judge, Program(endless, [FunctionTest("pass")]))
    assert (verdict.passed, verdict.ran) == ((False,), False)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def test_the_memory_limit_is_met_by_an_error_not_by_the_machine(judge: Judge) -> None:
    verdict = run(judge, Program(HARM["memory bomb"], [FunctionTest("f()")]))
    assert verdict.errors == ("MemoryError",)


def test_a_stuck_program_does_not_hold_up_the_others() -> None:
    stuck = Program("while True: pass", [FunctionTest("pass")])
    quick = Program("def f(): return 1", [FunctionTest("assert f() == 1")])
    with Judge(limits=Limits(wall=3, total=3), workers=2) as judge:
        judge.run([quick] * 8)  # both workers have started
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(judge.run, [stuck])
            others = judge.run([quick] * 4)
            assert not waiting.done()
        (verdict,) = waiting.result()
    assert isinstance(verdict, Verdict)
    assert verdict.errors == ("timed out after 3 s",)
    assert all(isinstance(other, Verdict) and other.passed == (True,) for other in others)


def test_a_worker_that_is_killed_is_replaced(judge: Judge) -> None:
    with Judge(isolation=judge.isolation, limits=LIMITS, workers=1) as own:
        good = Program("def f(): return 1", [FunctionTest("assert f() == 1")])
        others = own_processes()
        assert run(own, good).share == 1.0
        for pid in own_processes() - others:
            os.kill(pid, 9)
        (error,) = own.run([good])
        assert isinstance(error, Exception)
        assert "the sandbox" in str(error)
        assert run(own, good).share == 1.0


def test_nothing_outlives_the_trainer(judge: Judge) -> None:
    own = own_processes()
    trainer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from morl_code.judge import *\n"
            f"judge = Judge(isolation={judge.isolation!r}, workers=1, limits=Limits(wall=20, total={20 + MARK}))\n"
            "print(judge.run([Program('def f(): return 1', [FunctionTest('assert f() == 1')])])[0].share, flush=True)\n"
            "judge.run([Program('import time; time.sleep(20)', [FunctionTest('pass')])])",
        ],
        stdout=subprocess.PIPE,
    )
    assert trainer.stdout is not None
    with trainer.stdout:
        assert trainer.stdout.readline() == b"1.0\n"
    mark = str(20 + MARK)
    zygote = {"namespaces": 2, "landlock": 1}[judge.isolation]
    assert until(lambda: len(own_processes(mark)) == 1 + zygote + 2)  # with the trainer, the program and the test
    trainer.kill()
    trainer.wait()
    assert until(lambda: not own_processes(mark))
    assert own_processes() == own


# The verdict ---------------------------------------------------------------------------------------------------------

EQUAL = """
class Equal:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __lt__
    def __sub__(self, other): return self
    __rsub__ = __add__ = __radd__ = __mul__ = __truediv__ = __sub__
    def __abs__(self): return self
    def __float__(self): return 5.0
    def __contains__(self, other): return True
    def __instancecheck__(self, other): return True
    def __getattr__(self, name): return lambda *a, **k: True
"""

SEND = """
import json, os
def send(message):
    data = json.dumps(message).encode()
    for fd in range(3, 64):
        try:
            os.write(fd, len(data).to_bytes(8, "big") + data)
            os.write(fd, data + b"\\n")
        except OSError:
            pass
PASSED = {"passed": True, "error": None, "ran": True, "value": "expected-8731", "started": True, "changed": None}
"""

# Each is a program of which the case below asks f(2) == "expected-8731-a", in its several forms.
FORGERY = {
    "os._exit": "import os\nos._exit(0)",
    "os._exit when called": "import os\ndef f(x): os._exit(0)",
    "exit": "exit(0)",
    "sys.exit": "import sys\nsys.exit(0)",
    "exit when called": "import sys\ndef f(x): sys.exit(0)",
    "raising SystemExit": "def f(x): raise SystemExit(0)",
    "raising GeneratorExit": "def f(x): raise GeneratorExit",
    "raising StopIteration": "def f(x): raise StopIteration",
    "raising AssertionError": "def f(x): raise AssertionError",
    "raising an exception of its own": """
class Passed(BaseException):
    def __str__(self): raise self
def f(x): raise Passed
""",
    "not there": "",
    "not Python": "def f(x) return",
    "printing a verdict": """
def f(x):
    for stream in (sys.stdout, sys.stderr, sys.__stdout__):
        print('{"passed": true, "error": null, "ran": true}', file=stream, flush=True)
""",
    "equal to everything": EQUAL + "def f(x): return Equal()",
    "everything is equal to it": EQUAL + "f = Equal()",
    "a class for the function": EQUAL + "class f(Equal):\n    def __init__(self, x): pass",
    "a text equal to everything": """
class Text(str):
    def __eq__(self, other): return True
    def __hash__(self): return 0
    def __getattribute__(self, name): return lambda *a: True
def f(x): return Text("")
""",
    "a number equal to everything": """
class Number(float):
    def __eq__(self, other): return True
    def __sub__(self, other): return 0.0
    def __abs__(self): return 0.0
def f(x): return Number(7.5)
""",
    "a list of such": EQUAL + "def f(x): return [Equal(), (Equal(),), {'a': Equal()}]",
    "a mock": "from unittest import mock\ndef f(x): return mock.ANY",
    "a magic mock": "from unittest import mock\nf = mock.MagicMock()",
    "an endless iterator": "def f(x):\n    while True: yield True",
    "builtins": EQUAL
    + """
import builtins
for name in ("AssertionError", "Exception", "BaseException", "str", "isinstance", "abs", "compile", "exec", "type"):
    setattr(builtins, name, Equal())
def f(x): return Equal()
""",
    "builtins that pass": """
import builtins
builtins.AssertionError = type("Quiet", (BaseException,), {})
builtins.__import__ = lambda *a, **k: None
builtins.all = builtins.any = lambda *a: True
def f(x): return True
""",
    "the checker's modules": """
for name, module in list(sys.modules.items()):
    for attribute in list(vars(module)) if name.startswith("sandbox") else ():
        if callable(getattr(module, attribute)) and attribute not in ("send", "receive"):
            setattr(module, attribute, lambda *a, **k: iter([{"passed": True, "error": None, "ran": True}]))
def f(x): return True
""",
    "json": """
import json
json.dumps = lambda *a, **k: '{"passed": true, "error": null, "ran": true, "value": true}'
def f(x): return 1
""",
    "os.write": """
import os
true_write = os.write
os.write = lambda fd, data: true_write(fd, (11).to_bytes(8, "big") + b'{"value":1}') and len(data)
def f(x): return 1
""",
    "answers on every descriptor": SEND + "send(PASSED)\ndef f(x): send(PASSED)",
    "answers without end": SEND
    + """
import threading, time
def flood():
    end = time.time() + 20
    while time.time() < end: send(PASSED)
threading.Thread(target=flood, daemon=True).start()
def f(x): time.sleep(0.1)
""",
    "an answer that is too long": "def f(x): return 'x' * (2**24 + 1)",
    "an announced length": "import os\nos.write(4, b'\\xff' * 8)\ndef f(x): return 1",
    "an answer that is too deep": """
def f(x):
    value = []
    for _ in range(100_000): value = [value]
    return value
""",
    "an answer that contains itself": "def f(x):\n    value = []\n    value.append(value)\n    return value",
    "no value": """
sys.modules["sandbox.codec"].encode = lambda *a, **k: {"D": "nonsense"}
def f(x): return 1
""",
    "an exception for a value": """
sys.modules["sandbox.subject"]._answer = lambda *a: {"raised": "SystemExit", "text": "0"}
def f(x): return 1
""",
    "frames": """
def texts(value, depth):
    if isinstance(value, str): yield value
    elif depth and isinstance(value, dict):
        for item in list(value.values()): yield from texts(item, depth - 1)
    elif depth and isinstance(value, (list, tuple, set)):
        for item in list(value): yield from texts(item, depth - 1)
    elif depth and hasattr(value, "__dict__"): yield from texts(vars(value), depth - 1)
def f(x):
    frame = sys._getframe()
    while frame:
        for text in texts({**frame.f_locals, **frame.f_globals}, 4):
            at = text.find("expected-" + "8731")
            if at >= 0: return text[at:at + 15]
        frame = frame.f_back
""",
    "the heap": """
import gc, sys
def f(x):
    gc.unfreeze()
    for value in gc.get_objects():
        for text in (value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()):
            at = text.find("expected-" + "8731") if isinstance(text, str) else -1
            if at >= 0: return text[at:at + 15]
""",
    "open descriptors": """
import os
def f(x):
    for fd in [*range(64), *os.listdir("/proc/self/fd")] if os.path.exists("/proc/self/fd") else range(64):
        try:
            os.lseek(int(fd), 0, 0)
            text = os.read(int(fd), 2**20).decode(errors="replace")
        except OSError:
            continue
        at = text.find("expected-" + "8731")
        if at >= 0: return text[at:at + 15]
""",
    "memory of others": """
import os
def f(x):
    for pid in ("self", os.getppid(), os.getpid() + 1, os.getpid() - 1, 1, 2):
        for name in ("mem", "cmdline", "environ", "maps"):
            with open(f"/proc/{pid}/{name}", "rb") as file:
                if b"expected-8731" in file.read(2**20): return "expected-" + "8731-a"
""",
    "tracing": """
import sys, threading
def trace(frame, event, value):
    frame.f_trace_lines = False
    return trace
sys.settrace(trace)
sys.setprofile(lambda *a: None)
def f(x): return True
""",
    "the end of the process": """
import atexit, os
class Late:
    def __del__(self): raise RuntimeError("late")
late = Late()
atexit.register(lambda: print('{"passed": true}'))
atexit.register(os._exit, 0)
def f(x):
    global late
    late = None
    return Late()
""",
    "a thread that is left": """
import threading, time
threading.Thread(target=time.sleep, args=(20,)).start()
def f(x): return True
""",
    "import hooks": """
class Finder:
    def find_spec(self, name, path=None, target=None):
        raise SystemExit(0)
sys.meta_path.insert(0, Finder())
sys.modules.clear()
def f(x): return True
""",
    "modules that tests use": """
class math:
    isclose = staticmethod(lambda *a, **k: True)
def f(x): return 7.5
""",
    "other modules under their names": """
import operator, sys
math = sys.modules["sandbox.subject"]
math.isclose = lambda *a, **k: True
def f(x): return 7.5
""",
    "functions that tests use": """
abs = len = sorted = str = set = lambda *a: 0
isinstance = all = any = lambda *a: True
def f(x): return 7.5
""",
    "changing the arguments": "def f(x):\n    x.clear() if isinstance(x, list) else None\n    return 1",
}

TESTS = (
    f"assert f(2) == {EXPECTED!r}",
    f"assert not f(2) != {EXPECTED!r}",
    f"assert {EXPECTED!r} == f(2)",
    f"assert f(2) in [{EXPECTED!r}]",
    "assert f(2) is False",
    "assert abs(f(2) - 5.0) < 1e-6",
    "import math\nassert math.isclose(f(2), 5.0)",
    "assert math.isclose(f(2), 5.0)",
    "assert set(f(2)) == {1, 2}",
    "assert sorted(f([3, 1])) == [1, 3]",
    "assert f(2).startswith('expected') and f(2).isidentifier()",
    "assert isinstance(f(2), int) and f(2) == 5",
    f"def check(candidate):\n    for _ in range(3):\n        assert candidate(2) == {EXPECTED!r}\ncheck(f)",
    "try:\n    f(0)\n    assert False\nexcept ZeroDivisionError:\n    pass",
)


@pytest.fixture(scope="module")
def best() -> Iterator[Judge]:
    """What a program makes of its own process does not depend on the level."""
    with Judge(limits=LIMITS, workers=1) as judge:
        yield judge


@pytest.mark.parametrize("forgery", FORGERY)
def test_no_forged_verdict(forgery: str, best: Judge) -> None:
    verdict = run(best, Program(FORGERY[forgery], [FunctionTest(test) for test in TESTS]))
    assert verdict.passed == (False,) * len(TESTS), verdict


@pytest.mark.parametrize("forgery", ["memory of others", "open descriptors", "answers on every descriptor"])
def test_no_way_into_the_process_of_the_tests(forgery: str, judge: Judge) -> None:
    assert run(judge, Program(FORGERY[forgery], [FunctionTest(TESTS[0])])).passed == (False,)


def test_the_cases_can_be_passed(best: Judge) -> None:
    """The control of the test above: what fails there fails for a reason."""
    answers = (EXPECTED,) * 4 + (False, 5.0, 5.0, 5.0, [1, 2, 1], [3, 1], "expected", 5, EXPECTED)
    for test, answer in zip(TESTS, answers, strict=False):
        verdict = run(best, Program(f"import math\ndef f(x): return {answer!r}", [FunctionTest(test)]))
        assert verdict.passed == (True,), (test, verdict)
    assert run(best, Program("def f(x): return 1 / x", [FunctionTest(TESTS[-1])])).passed == (True,)


@pytest.mark.parametrize(
    "source",
    [
        'print(\'{"passed": true, "error": null, "ran": true}\')',
        "import os\nos._exit(0)",
        "exit(0)",
        "print('expected-', end='')\nraise SystemExit(0)",
        FORGERY["answers on every descriptor"],
        FORGERY["open descriptors"] + "\nprint(f(2))",
        FORGERY["frames"] + "\nprint(f(2))",
        FORGERY["the heap"] + "\nprint(f(2))",
        "print('expected-8731-a')\nraise ValueError",
        "import sys\nprint('expected-8731-a')\nsys.exit(1)",
        "import sys\nprint('expected-8731-a')\nsys.exit('error')",
        "print('expected-8731-a')\nimport time\ntime.sleep(20)",
        "print('expected-8731-a')\nimport threading, time\nthreading.Thread(target=time.sleep, args=(20,)).start()",
        "print('expected-8731-a')\nimport atexit\natexit.register(print, 'more')",
        "print('expected-8731-a' + ' ' * 2**23)",
    ],
)
def test_no_forged_output(source: str, best: Judge) -> None:
    assert run(best, Program(source, [StdioTest("2\n", EXPECTED)])).passed == (False,)
