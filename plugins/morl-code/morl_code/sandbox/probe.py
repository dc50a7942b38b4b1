"""Finds out what isolation holds on this machine, by trying to break it."""

from __future__ import annotations

import functools
import os
import secrets
import socket
import sys
import tempfile
from pathlib import Path

from morl.errors import ConfigError, RewardError, suggest
from morl_code.sandbox import registry
from morl_code.sandbox.interface import SandboxFactory, SandboxRefused
from morl_code.sandbox.limits import Limits

LEVELS = ("namespaces", "landlock")
"""What `auto` takes, the first that holds."""

# Prints a line for everything that a confined program must not be able to do, and is.
_ATTEMPTS = """
import fcntl, os, socket, struct
def attempt(what, action):
    try:
        action()
    except (OSError, MemoryError):
        return
    print(what)
secret, port, pid, abstract = {secret!r}, {port}, {pid}, {abstract!r}
def pair(kind):
    return socket.socketpair(socket.AF_UNIX, kind)[0]
def owned(command, value):
    fcntl.fcntl(pair(socket.SOCK_STREAM), command, value)
def owned_by_device(command):
    fcntl.ioctl(pair(socket.SOCK_STREAM), command, struct.pack("i", pid))
attempt("read files", lambda: open(secret).read())
attempt("list folders", lambda: os.listdir(os.path.dirname(secret)))
attempt("write files", lambda: open(secret + ".written", "w"))
attempt("read the environment of others", lambda: open(f"/proc/{{pid}}/environ").read())
attempt("connect to the network", lambda: socket.create_connection(("127.0.0.1", port), 1))
attempt("send datagrams", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port)))
for address in (secret + ".socket", abstract):
    attempt("send to local sockets", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", address))
    attempt("send to local sockets through a pair", lambda: pair(socket.SOCK_DGRAM).sendto(b"x", address))
    attempt("connect to local sockets", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect(address))
attempt("have the kernel signal others", lambda: owned(fcntl.F_SETOWN, pid))
attempt("have the kernel signal others", lambda: owned(15, struct.pack("ii", 1, pid)))  # F_SETOWN_EX, F_OWNER_PID
attempt("choose the signal", lambda: owned(fcntl.F_SETSIG, 23))
for command in (0x8901, 0x8902):  # FIOSETOWN, SIOCSPGRP
    attempt("have the kernel signal others through ioctl", lambda: owned_by_device(command))
attempt("signal others", lambda: os.kill(pid, 0))
attempt("signal its parent", lambda: os.kill(os.getppid(), 0))
attempt("start processes", lambda: os.fork() or os._exit(0))
attempt("use memory over its limit", lambda: bytearray({memory}))
print("end")
"""


def choose(isolation: str) -> str:
    """The level of isolation to run at.

    Args:
        isolation: "auto", or a sandbox by name.

    Raises:
        ConfigError: an unknown sandbox, one that does not hold, or "auto" where none does.
    """
    if not sys.platform.startswith("linux"):
        raise ConfigError(
            f"generated programs run on Linux only, this is {sys.platform}; train on Linux or in a container"
        )
    known = ("auto", *registry.names())
    if isolation not in known:
        raise ConfigError(
            f"unknown isolation {isolation!r}{suggest(str(isolation), known)}; available: {', '.join(known)}"
        )
    _need_memory_files()
    faults = {}
    for level in LEVELS if isolation == "auto" else (isolation,):
        faults[level] = _try(level)[0] if level == "none" else missing(level)
        if not faults[level]:
            return level
    raise ConfigError(
        "generated programs cannot be isolated on this machine: "
        + "; ".join(f"{level}: {fault}" for level, fault in faults.items())
        + ". Give the process one of them (unprivileged user namespaces on Linux 5.12, or Landlock on Linux 6.2; in a"
        " container the seccomp profile has to permit them), or write `isolation: none` if nothing on this machine is"
        " worth protecting from what a policy generates"
    )


def missing(name: str) -> str:
    """What a sandbox lacks on this machine; empty if it holds."""
    fault, abilities = _try(name)
    return fault or (f"a program could {', '.join(abilities)}" if abilities else "")


@functools.cache
def _try(name: str) -> tuple[str, tuple[str, ...]]:
    """Why a sandbox cannot run a program, and what a program that runs in it can do."""
    try:
        return "", check_sandbox(registry.factory(name))
    except (SandboxRefused, RewardError) as error:
        return str(error), ()


def check_sandbox(factory: SandboxFactory) -> tuple[str, ...]:
    """Has a program try to get out of a sandbox.

    Returns:
        What it could do of all that it must not.

    Raises:
        SandboxRefused: the machine does not offer the sandbox.
        RewardError: no program can run in it.
    """
    limits = Limits(memory=256)
    abstract = f"\0morl-code-{os.getpid()}-{secrets.token_hex(8)}"
    with (
        tempfile.TemporaryDirectory(prefix="morl-code-") as folder,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as named,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unnamed,
    ):
        secret = Path(folder, "secret")
        secret.write_text("secret")
        named.bind(f"{secret}.socket")
        unnamed.bind(abstract)
        attempts = _ATTEMPTS.format(
            secret=str(secret),
            abstract=abstract,
            port=listener.getsockname()[1],
            pid=os.getpid(),
            memory=512 * 2**20,
        )
        sandbox = factory(limits)
        try:
            outcome = sandbox.run_script(attempts, "", limits.wall)
        finally:
            sandbox.close()
    *abilities, end = outcome.output.split("\n")[:-1] or [""]
    if not outcome.passed or end != "end":
        raise RewardError(f"a program could not run: {outcome.error}")
    return tuple(dict.fromkeys(abilities))


def _need_memory_files() -> None:
    """Raises an error where programs cannot be handed over at all, at whatever level."""
    try:
        os.close(os.memfd_create("morl-code"))
    except OSError as error:
        raise ConfigError(
            f"programs travel to their sandbox in anonymous files in memory, which this process may not make"
            f" (memfd_create: {error.strerror}); permit the call, in a container by its seccomp profile"
        ) from error
