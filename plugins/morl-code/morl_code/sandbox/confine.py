"""The levels of isolation: what a zygote does once, and each process that it forks before it runs anything."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
from typing import NamedTuple, Protocol

from . import landlock, linux, namespaces, seccomp

LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo")
_STACK = 100 * 2**20


def visible() -> list[str]:
    """What programs may read: the modules of this Python, and the libraries that these load."""
    # A Python of its own prefix, conda's for one, has its libraries beside its modules.
    return [*sys.path, os.path.realpath(os.path.join(sys.base_prefix, "lib")), *LIBRARIES]


class Limits(NamedTuple):
    """What `morl_code.judge.Limits` says, as it travels to the zygote."""

    wall: float
    total: float
    cpu: int
    memory: int
    output: int
    folder: int
    threads: int


class Level(Protocol):
    """One level of isolation."""

    def enter(self) -> None:
        """Confines the zygote.  May return in another process than it was called in."""

    def before_fork(self) -> None:
        """Called in the zygote before each fork."""

    def confine(self, limits: Limits) -> None:
        """Confines the forked process for good."""

    def after_end(self) -> None:
        """Called in the zygote when the processes of a case are gone."""


class Namespaces:
    """No network, no other processes, no files but Python's and a temporary folder in memory."""

    def enter(self) -> None:
        seccomp.instructions(linux.machine())
        namespaces.enter(visible())
        linux.forbid_capabilities()

    def before_fork(self) -> None:
        namespaces.new_processes()

    def confine(self, limits: Limits) -> None:
        namespaces.new_temporary(limits.folder)
        _set_limits(limits)
        # Counted per user and namespace: the zygote and the other process of the case are in there.
        _limit(resource.RLIMIT_NPROC, limits.threads + 2)
        namespaces.drop_user()
        _no_new_privileges()
        seccomp.install()

    def after_end(self) -> None:
        pass


class Landlock:
    """No network, no files but Python's, no other process to touch; works without any privilege."""

    def enter(self) -> None:
        seccomp.instructions(linux.machine())
        landlock.version()
        linux.forbid_capabilities()

    def before_fork(self) -> None:
        pass

    def confine(self, limits: Limits) -> None:
        os.chdir("/")
        os.setsid()
        _set_limits(limits)
        linux.drop_capabilities()
        _no_new_privileges()
        landlock.allow_reading(visible())
        seccomp.install()

    def after_end(self) -> None:
        pass


class Bubblewrap:
    """The zygote starts in bubblewrap; what it forks has limits and the filter on top."""

    def enter(self) -> None:
        seccomp.instructions(linux.machine())
        linux.forbid_capabilities()

    def before_fork(self) -> None:
        pass

    def confine(self, limits: Limits) -> None:
        os.chdir("/")
        os.setsid()
        _set_limits(limits)
        linux.drop_capabilities()
        _no_new_privileges()
        seccomp.install()

    def after_end(self) -> None:
        pass


class Unprotected:
    """Limits, and nothing else."""

    def __init__(self) -> None:
        self._folder = ""

    def enter(self) -> None:
        pass

    def before_fork(self) -> None:
        self._folder = self._folder or tempfile.mkdtemp(prefix="morl-code-")

    def confine(self, limits: Limits) -> None:
        os.chdir(self._folder)
        os.setsid()
        _set_limits(limits)

    def after_end(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = ""


LEVELS: dict[str, type[Level]] = {
    "namespaces": Namespaces,
    "landlock": Landlock,
    "bubblewrap": Bubblewrap,
    "none": Unprotected,
}


def _set_limits(limits: Limits) -> None:
    _limit(resource.RLIMIT_CPU, limits.cpu)
    _limit(resource.RLIMIT_AS, limits.memory * 2**20)
    _limit(resource.RLIMIT_FSIZE, limits.output * 2**20)
    _limit(resource.RLIMIT_NOFILE, 64)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_MEMLOCK, 0)
    _limit(resource.RLIMIT_MSGQUEUE, 0)
    _raise_stack()


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _raise_stack() -> None:
    """Deep recursion through C code, such as `functools.cache`, needs a large stack, and judges give one.

    The hard limit stays, for programs raise the soft one themselves.  The kernel keeps so much room below the stack.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = _STACK if hard == resource.RLIM_INFINITY else min(_STACK, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))


def _no_new_privileges() -> None:
    linux.prctl("PR_SET_PDEATHSIG", linux.PR_SET_PDEATHSIG, 9)
    linux.prctl("PR_SET_NO_NEW_PRIVS", linux.PR_SET_NO_NEW_PRIVS, 1)
