"""The parts of the sandbox: what is refused, what the levels are made of, and how values travel."""

from __future__ import annotations

import array
import contextlib
import ctypes
import datetime
import decimal
import enum
import errno
import fractions
import math
import os
import shutil
import socket
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morl.errors import ConfigError, RewardError
from morl_code.judge import Judge, Limits
from morl_code.sandbox import client, codec, probe, seccomp
from morl_code.sandbox.client import LocalSandbox
from morl_code.sandbox.interface import SandboxRefused

FOUND = [level for level in probe.LEVELS if not probe.missing(level)]

# Isolation -----------------------------------------------------------------------------------------------------------


def test_an_unknown_isolation_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown isolation 'namespace'; did you mean 'namespaces'\?; available: auto"
    ):
        Judge(isolation="namespace")  # type: ignore[arg-type]


def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ConfigError, match="generated programs run on Linux only, this is darwin"):
        Judge(isolation="none")


def test_auto_takes_the_best_level_that_holds() -> None:
    assert FOUND, {level: probe.missing(level) for level in probe.LEVELS}
    with Judge() as judge:
        assert judge.isolation == FOUND[0]


def test_the_probe_sees_what_an_unprotected_program_can_do() -> None:
    fault = probe.missing("none")
    for ability in ("read files", "write files", "connect to the network", "signal its parent", "start processes"):
        assert ability in fault
    assert "memory" not in fault  # limits hold without isolation


@pytest.fixture
def without(tmp_path: Path) -> Callable[..., list[str]]:
    """A Python on a machine where a real filter refuses these system calls."""

    def make(**calls: int) -> list[str]:
        script = tmp_path / "bare.py"
        script.write_text(_BARE.format(calls=calls))
        return [sys.executable, str(script)]

    return make


@pytest.fixture
def bare_machine(without: Callable[..., list[str]]) -> list[str]:
    """A Python on a machine without namespaces and Landlock."""
    return without(unshare={"x86_64": 272, "aarch64": 97}[os.uname().machine], landlock_create_ruleset=444)


_BARE = """
import ctypes, sys
from morl_code.sandbox import linux, seccomp
seccomp.forbidden = lambda machine: {calls}
seccomp._CLONE[linux.machine()] = seccomp._CLONE3 = seccomp._PRLIMIT64[linux.machine()] = 100_000
linux.prctl("", linux.PR_SET_NO_NEW_PRIVS, 1)
seccomp.install()
from morl_code.judge import FunctionTest, Judge, Program
try:
    judge = Judge(isolation=sys.argv[1])
except Exception as error:
    print(type(error).__name__, error)
else:
    print(judge.run([Program("def f(): return 1", [FunctionTest("assert f() == 1")])]))
    judge.close()
"""


def test_a_machine_without_isolation_is_refused_by_one_clear_error(bare_machine: list[str]) -> None:
    answer = subprocess.run([*bare_machine, "auto"], capture_output=True, text=True, check=True).stdout
    assert answer.startswith("ConfigError generated programs cannot be isolated on this machine: namespaces: ")
    assert "unshare: Operation not permitted; landlock: " in answer
    assert "landlock: Operation not permitted" in answer
    assert "isolation: none" in answer


def test_a_level_by_name_is_never_replaced_by_another(bare_machine: list[str]) -> None:
    answer = subprocess.run([*bare_machine, "landlock"], capture_output=True, text=True, check=True).stdout
    assert answer.startswith("ConfigError generated programs cannot be isolated on this machine: landlock: ")
    assert "namespaces:" not in answer


def test_no_isolation_has_to_be_asked_for_and_still_judges(bare_machine: list[str]) -> None:
    answer = subprocess.run([*bare_machine, "none"], capture_output=True, text=True, check=True).stdout
    assert answer == "[Verdict(passed=(True,), ran=True, errors=(None,))]\n"


@pytest.mark.parametrize("isolation", ["auto", "landlock", "none"])
def test_a_machine_without_files_in_memory_is_refused(without: Callable[..., list[str]], isolation: str) -> None:
    command = without(memfd_create={"x86_64": 319, "aarch64": 279}[os.uname().machine])
    answer = subprocess.run([*command, isolation], capture_output=True, text=True, check=True).stdout
    assert answer.startswith("ConfigError programs travel to their sandbox in anonymous files in memory")
    assert "(memfd_create: Operation not permitted); permit the call" in answer


def test_no_isolation_that_cannot_run_programs_is_refused(without: Callable[..., list[str]]) -> None:
    answer = subprocess.run([*without(pidfd_open=434), "none"], capture_output=True, text=True, check=True).stdout
    assert answer.startswith("ConfigError generated programs cannot be isolated on this machine: none: ")
    assert "Operation not permitted" in answer


def test_bubblewrap_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxRefused, match="the command bwrap is not installed"):
        LocalSandbox("bubblewrap", Limits())


@pytest.fixture
def changed_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Reads a file of the sandbox, or writes another in its place for the processes that are started."""
    shutil.copytree(Path(client.__file__).parent, tmp_path / "sandbox")
    monkeypatch.setattr(client, "__file__", str(tmp_path / "sandbox" / "client.py"))

    def change(name: str, source: str | None = None) -> str:
        path = tmp_path / "sandbox" / name
        if source is not None:
            path.write_text(source)
        return path.read_text()

    return change


need_landlock = pytest.mark.skipif("landlock" not in FOUND, reason="needs a kernel with Landlock, whose level this is")


@need_landlock
def test_the_filter_closes_what_early_landlock_leaves_open(changed_sandbox: Callable[..., str]) -> None:
    """Version 3 knows of no abstract sockets, no signals and no devices."""
    source = changed_sandbox("landlock.py")
    assert source.count("known = version()") == 1
    changed_sandbox("landlock.py", source.replace("known = version()", "known = 3"))
    assert probe.check_sandbox(partial(LocalSandbox, "landlock")) == ()


@need_landlock
def test_the_check_notices_a_filter_with_holes(changed_sandbox: Callable[..., str]) -> None:
    """The level `landlock`, from files of the sandbox in which the rules for arguments are left out."""
    source = changed_sandbox("seccomp.py")
    for name in ("_SENDTO", "_SOCKETPAIR", "_FCNTL", "_IOCTL"):
        assert source.count(f"({name}, ") == 1
        source = source.replace(f"({name}, ", "({machine: 99_999}, ")
    changed_sandbox("seccomp.py", source)
    abilities = probe.check_sandbox(partial(LocalSandbox, "landlock"))
    for ability in (
        "send to local sockets through a pair",
        "have the kernel signal others",
        "choose the signal",
        "have the kernel signal others through ioctl",
    ):
        assert ability in abilities


def test_an_unconfined_process_runs_nothing() -> None:
    """A limit that the kernel refuses after the zygote is ready."""
    sandbox = LocalSandbox("none", Limits(memory=2**50))
    try:
        with pytest.raises(RewardError, match=r"the sandbox could not confine a process: (OverflowError|ValueError)"):
            sandbox.run_script("print(1)", "", 5)
    finally:
        sandbox.close()


def test_what_cannot_be_entered_is_refused() -> None:
    with pytest.raises(RewardError, match=r"(?s)the sandbox ended: .*KeyError: 'cellar'"):
        LocalSandbox("cellar", Limits())


@pytest.mark.parametrize("level", FOUND)
def test_what_a_program_sees(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    sandbox = LocalSandbox(level, Limits())
    try:
        seen = sandbox.run_script(
            "import os, sys\n"
            "print(sorted(os.environ), [name for name in sys.modules if 'morl' in name])\n"
            "def is_open(fd):\n"
            "    try: os.fstat(fd)\n"
            "    except OSError: return False\n"
            "    return True\n"
            "print([fd for fd in range(1000) if is_open(fd)])\n"
            "import sqlite3, ssl, zlib, xml.etree.ElementTree, zoneinfo, asyncio, concurrent.futures, email, unittest",
            "",
            5,
        )
    finally:
        sandbox.close()
    assert seen.passed, seen
    environment, descriptors = seen.output.splitlines()
    assert environment == "['HOME', 'LANG', 'OMP_NUM_THREADS', 'PYTHONHASHSEED', 'TMPDIR'] []"
    assert descriptors == "[0, 1, 2]"


def test_the_temporary_folder_is_private_and_small() -> None:
    if "namespaces" not in FOUND:
        pytest.fail(f"only namespaces give a temporary folder: {probe.missing('namespaces')}")
    sandbox = LocalSandbox("namespaces", Limits(folder=1))
    try:
        first = sandbox.run_script("open('left', 'w').write('x'); print(open('/tmp/left').read())", "", 5)
        second = sandbox.run_script("import os; print(os.getcwd(), os.listdir('.'))", "", 5)
        full = sandbox.run_script("open('large', 'wb').write(b'x' * 2**21)", "", 5)
    finally:
        sandbox.close()
    assert (first.output, second.output) == ("x\n", "/tmp []\n")
    assert full.error == "OSError: [Errno 28] No space left on device"


def test_the_zygote_ends_with_its_client() -> None:
    sandbox = LocalSandbox("none", Limits())
    assert sandbox.run_script("print(1)", "", 5).output == "1\n"
    process = sandbox._process
    sandbox.close()
    assert process.returncode == 0
    with pytest.raises(RewardError, match="the sandbox is gone"):
        sandbox.run_script("print(1)", "", 5)


# The filter ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_names_each_call_once_and_fits(machine: str) -> None:
    numbers = seccomp.forbidden(machine)
    assert len(set(numbers.values())) == len(numbers) > 100
    assert len(seccomp.instructions(machine)) // 8 < 4096  # the kernel's limit


def test_the_numbers_are_those_of_this_machines_headers() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    calls = seccomp.forbidden(os.uname().machine)
    # Two whose effect shows without privileges: an invalid socket family, and our own session.
    assert libc.syscall(calls["socket"], 255, 1, 0) == -1
    assert ctypes.get_errno() == getattr(socket, "EAFNOSUPPORT", 97)
    assert libc.syscall(calls["kill"], os.getpid(), 0) == 0


@pytest.mark.parametrize("level", FOUND)
def test_pairs_of_sockets_work_but_send_to_no_address(level: str) -> None:
    sandbox = LocalSandbox(level, Limits())
    try:
        seen = sandbox.run_script(
            "import fcntl, os, socket\n"
            "a, b = socket.socketpair()\n"
            "a.send(b'x'); print(b.recv(1), os.isatty(0), fcntl.fcntl(0, fcntl.F_GETFD))\n"
            "os.set_inheritable(0, True); a.setblocking(False)\n"
            "for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):\n"
            "    try: socket.socketpair(socket.AF_UNIX, kind)[0].sendto(b'x', '/tmp/x')\n"
            "    except OSError as error: print(error.errno)",
            "",
            5,
        )
    finally:
        sandbox.close()
    assert seen.output.split("\n")[0].startswith("b'x' False"), seen
    assert seen.output.split("\n")[1:3] == [str(errno.EPERM)] * 2


# Values --------------------------------------------------------------------------------------------------------------


def refuse(value: object) -> Any:
    raise ValueError(f"{value!r} is not plain")


def travel(value: object) -> Any:
    """There and back, over a real pipe."""
    read, write = os.pipe()
    try:
        codec.send(write, codec.encode(value, refuse))
        return codec.decode(codec.receive(read), refuse)
    finally:
        os.close(read)
        os.close(write)


ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
)
HASHABLE = st.recursive(ATOMS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.sets(HASHABLE, max_size=3)
    ),
    max_leaves=10,
)


@given(VALUES)
def test_plain_values_arrive_as_they_are(value: object) -> None:
    arrived = travel(value)
    assert arrived == value
    assert repr(type(arrived)) == repr(type(value))


@pytest.mark.parametrize(
    "value",
    [
        2**70000,
        -(10**5000),
        math.inf,
        -0.0,
        "\ud800",
        bytearray(b"ab"),
        range(3, 9, 2),
        deque([1, 2], maxlen=2),
        Counter("aab"),
        OrderedDict(b=1, a=2),
        decimal.Decimal("1.10"),
        fractions.Fraction(1, 3),
        array.array("i", [1, 2]),
        datetime.datetime(2020, 1, 2, 3, tzinfo=datetime.UTC),
        datetime.date(2020, 1, 2),
        datetime.time(1, 2),
        datetime.timedelta(days=1, microseconds=3),
        int,
        type(None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_of_the_standard_library_arrive(value: object) -> None:
    arrived = travel(value) if value is not type(None) else value
    assert arrived == value
    assert type(arrived) is type(value)
    assert not isinstance(value, float) or math.copysign(1, value) == math.copysign(1, arrived)


def test_nan_arrives() -> None:
    assert math.isnan(travel(math.nan))


def test_subclasses_arrive_as_what_they_hold() -> None:
    Point = namedtuple("Point", "x y")

    class Liar(list[int]):
        def __eq__(self, other: object) -> bool:
            return True

        def __iter__(self) -> Any:
            return iter([9, 9])

    class Color(enum.IntEnum):
        RED = 1

    for value, plain in (
        (Point(1, 2), (1, 2)),
        (Liar([1]), [1]),
        (Color.RED, 1),
        (defaultdict(list, a=[1]), {"a": [1]}),
    ):
        arrived = travel(value)
        assert arrived == plain
        assert type(arrived) is type(plain)


def test_other_objects_are_kept() -> None:
    kept: list[object] = []

    def keep(value: object) -> int:
        kept.append(value)
        return len(kept) - 1

    thing = object()
    assert codec.decode(codec.encode([thing], keep), kept.__getitem__) == [thing]


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3) | st.floats(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*"itCOdsfbBcrqaDFhy", "dt", "td", "?"]), inner, max_size=2)
        ),
        max_leaves=8,
    )
)
def test_nonsense_is_a_value_error_or_a_plain_value(encoded: object) -> None:
    with contextlib.suppress(ValueError):
        value = codec.decode(encoded, refuse)
        assert type(value).__module__ in ("builtins", "collections", "decimal", "fractions", "array", "datetime")


def test_messages_have_a_limit() -> None:
    read, write = os.pipe()
    with pytest.raises(ValueError, match="the limit is"):
        codec.send(write, "x" * codec.MESSAGE_LIMIT)
    os.write(write, b"\x7f" * 8)
    with pytest.raises(ValueError, match="the limit is"):
        codec.receive(read)
    os.close(write)
    with pytest.raises(EOFError):
        codec.receive(read)
    os.close(read)
