"""Programs that attack the machine.  Each has to score as failure, and to harm nothing; for the verdict see
`test_code_forgeries.py`.

Every attack is bounded itself (200 processes or threads, 2 GB, 20 s, victims of the test's own making), so that a hole
fails a test and not the machine; no attack addresses anything but loopback.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from attrs import evolve, frozen
from processes import until, with_mark

from morl_code.judge import FunctionTest, Judge, Limits, Program, StdioTest, Verdict
from morl_code.sandbox import probe
from morl_code.sandbox.client import LocalSandbox
from morl_code.sandbox.sessions import Sandboxes, Session

# Only this run's processes have it in their command line.
MARK = 15.0 + (os.getpid() % 100_000) / 1e6
LIMITS = Limits(wall=0.6, total=MARK, cpu=15, memory=256, output=4, folder=8)
"""Of programs that may fail as they like."""
PATIENT = evolve(LIMITS, wall=60, total=120 + MARK, cpu=60)
"""Of those that must come to their end, on a busy machine too."""
KNOWN = (*probe.LEVELS, "bubblewrap")
FOUND = [level for level in KNOWN if not probe.missing(level)]
# In bubblewrap, limits and filter are those of `landlock`; its walls are what is tried there.
IN_BUBBLEWRAP = {
    "files everywhere", "the environment of others", "a secret file", "the users of the machine", "debugging",
    "what a file is called", "a link to a secret", "changing a file", "killing the parent", "killing others",
    "connecting", "sending datagrams", "local sockets", "datagrams through a pair", "signals through files",
    "new namespaces", "becoming root", "fork by system call", "memory in anonymous files", "the parent's environment",
}  # fmt: skip


def test_this_machine_offers_isolation() -> None:
    for level in set(KNOWN) - set(FOUND):
        warnings.warn(f"attacks on {level!r} are not tested here: {probe.missing(level)}", stacklevel=1)
    assert set(FOUND) & {*probe.LEVELS}, {level: probe.missing(level) for level in KNOWN}


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
    processes, files = with_mark(MARK), secret.stat()
    victim = subprocess.Popen(["sleep", "60"], env={"SECRET": "secret"})
    local = str(tmp_path / "socket")
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix_datagrams,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract_datagrams,
    ):
        datagrams.bind(("127.0.0.1", 0))
        unix.bind(local)
        abstract.bind(f"\0morl-test-{os.getpid()}")
        unix_datagrams.bind(str(tmp_path / "datagrams"))
        abstract_datagrams.bind(f"\0morl-datagrams-{os.getpid()}")
        for each in (listener, datagrams, unix, abstract, unix_datagrams, abstract_datagrams):
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
        for each in (datagrams, unix_datagrams, abstract_datagrams):
            with pytest.raises(BlockingIOError):
                each.recv(1)
    assert until(lambda: with_mark(MARK) == processes, 60), "a process was left, or the worker was killed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["datagrams", "secret", "socket"]
    assert secret.read_text() == "secret"
    after = secret.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_uid) == (files.st_mode, files.st_mtime_ns, files.st_uid)
    everywhere = {name for folder in ("/", "/tmp", "/dev/shm", "/var/tmp") for name in os.listdir(folder)}
    assert not everywhere & {"large", "file-0", "linked", "morl-code-attack"}, "what the attacks call their files"


def run(judge: Judge, program: Program) -> Verdict:
    (verdict,) = judge.run([program])
    assert isinstance(verdict, Verdict), verdict
    return verdict


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
    "datagrams through a pair": """
import itertools, socket
def f():
    done = 0
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET)
    flags = (0, socket.SOCK_CLOEXEC, socket.SOCK_NONBLOCK)
    for address, kind, flag in itertools.product((FOLDER + "/datagrams", f"\\0morl-datagrams-{PARENT}"), kinds, flags):
        for send in (
            lambda s: s.sendto(b"x", address),
            lambda s: s.sendmsg([b"x"], [], 0, address),
            lambda s: s.connect(address),
        ):
            try:
                send(socket.socketpair(socket.AF_UNIX, kind | flag)[0])
                done += 1
            except OSError:
                pass
    return "harm" if done else "none"
""",
    "a pair of another family": """
import ctypes
def f():
    fds = (ctypes.c_int * 2)()
    for family in range(2, 46):
        if ctypes.CDLL(None).socketpair(family, 1, 0, fds) == 0:
            return "harm"
    raise OSError("none")
""",
    "signals through files": """
import fcntl, os, socket, struct
def f():
    done = 0
    for file in (socket.socketpair()[0].fileno(), os.pipe()[0]):
        for act in (
            lambda: fcntl.fcntl(file, fcntl.F_SETOWN, VICTIM),
            lambda: fcntl.fcntl(file, fcntl.F_SETOWN, -VICTIM),
            lambda: fcntl.fcntl(file, fcntl.F_SETSIG, 9),
            lambda: fcntl.fcntl(file, 15, struct.pack("ii", 1, VICTIM)),
            lambda: fcntl.ioctl(file, 0x8901, struct.pack("i", VICTIM)),
            lambda: fcntl.ioctl(file, 0x8902, struct.pack("i", VICTIM)),
            lambda: fcntl.fcntl(file, fcntl.F_NOTIFY, 1),
            lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK),
        ):
            try:
                act()
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


@pytest.mark.parametrize(
    ("judge", "attack"),
    [(level, attack) for level in FOUND for attack in HARM if level in probe.LEVELS or attack in IN_BUBBLEWRAP],
    indirect=["judge"],
)
def test_no_harm(attack: str, judge: Judge, target: Target) -> None:
    verdict = run(judge, Program(aimed(attack, target), [FunctionTest("assert f() == 'harm'")], names=("f",)))
    assert verdict.passed == (False,), verdict


@pytest.mark.parametrize(
    ("judge", "attack"), [(level, attack) for level in FOUND[:1] for attack in HARM], indirect=["judge"]
)
def test_no_harm_in_a_session(attack: str, judge: Judge, target: Target) -> None:
    """A session's process has the walls of any; this is tried at the level that `auto` takes, which the judge has."""
    sandboxes = Sandboxes(lambda: LocalSandbox(judge.isolation, LIMITS))
    session = Session(sandboxes, seed=0, shown=1000)
    try:
        result = session.call(f"{aimed(attack, target)}\nassert f() == 'harm'", LIMITS.wall)
        assert not result.done, result
        assert session.call("print('as', 'before')", 60.0).output == "as before\n"
    finally:
        session.close()
        sandboxes.close()


def aimed(attack: str, target: Target) -> str:
    values = {
        "SECRET": str(target.secret),
        "FOLDER": str(target.folder),
        "PORT": target.port,
        "DATAGRAM_PORT": target.datagram_port,
        "VICTIM": target.victim,
        "PARENT": os.getpid(),
    }
    return "".join(f"{name} = {value!r}\n" for name, value in values.items()) + HARM[attack]


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
    with Judge(isolation=judge.isolation, limits=PATIENT, workers=1) as own:
        verdict = run(own, Program(HARM["memory bomb"], [FunctionTest("f()")]))
    assert verdict.errors == ("MemoryError",)


def test_a_stuck_program_does_not_hold_up_the_others() -> None:
    stuck = Program("import time\ntime.sleep(60)", [FunctionTest("pass")])
    quick = Program("def f(): return 1", [FunctionTest("assert f() == 1")])
    with Judge(limits=Limits(wall=15, total=15), workers=2) as judge:
        judge.run([quick] * 8)  # both workers have started
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(judge.run, [stuck])
            others = judge.run([quick] * 4)
            assert not waiting.done()
        (verdict,) = waiting.result()
    assert isinstance(verdict, Verdict)
    assert verdict.errors == ("timed out after 15 s",)
    assert all(isinstance(other, Verdict) and other.passed == (True,) for other in others)


def test_a_worker_that_is_killed_is_replaced(judge: Judge) -> None:
    with Judge(isolation=judge.isolation, limits=PATIENT, workers=1) as own:
        good = Program("def f(): return 1", [FunctionTest("assert f() == 1")])
        assert run(own, good).share == 1.0
        killed = with_mark(PATIENT.total)
        for pid in killed:
            with contextlib.suppress(ProcessLookupError):  # it went with the one before
                os.kill(pid, 9)
        assert killed
        (error,) = own.run([good])
        assert isinstance(error, Exception)
        assert "the sandbox" in str(error)
        assert run(own, good).share == 1.0


def test_nothing_outlives_the_trainer(judge: Judge) -> None:
    own = with_mark(MARK)
    trainer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from morl_code.judge import *\n"
            f"judge = Judge(isolation={judge.isolation!r}, workers=1, limits=Limits(wall=300, total={300 + MARK}))\n"
            "print(judge.run([Program('def f(): return 1', [FunctionTest('assert f() == 1')])])[0].share, flush=True)\n"
            "judge.run([Program('import time; time.sleep(300)', [FunctionTest('pass')])])",
        ],
        stdout=subprocess.PIPE,
    )
    assert trainer.stdout is not None
    with trainer.stdout:
        assert trainer.stdout.readline() == b"1.0\n"
    mark = 300 + MARK
    # In bubblewrap, its own two processes have the zygote's command line, too.
    zygote = {"namespaces": 2, "landlock": 1, "bubblewrap": 3}[judge.isolation]
    assert until(lambda: len(with_mark(mark)) == 1 + zygote + 2)  # with the trainer, the program and the test
    trainer.kill()
    trainer.wait()
    assert until(lambda: not with_mark(mark))
    assert until(lambda: with_mark(MARK) <= own)
