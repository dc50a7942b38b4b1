"""Finds out what isolation holds on this machine, by trying to break it."""

from __future__ import annotations

import functools
import os
import socket
import sys
import tempfile
from pathlib import Path

from morl.errors import ConfigError, RewardError, suggest
from morl_code.sandbox.client import Sandbox, SandboxRefused
from morl_code.sandbox.limits import Limits

LEVELS = ("namespaces", "landlock")

# Prints a line for everything that a confined program must not be able to do, and is.
_ATTEMPTS = """
import os, socket
def attempt(what, action):
    try:
        action()
    except (OSError, MemoryError):
        return
    print(what)
secret, port, pid = {secret!r}, {port}, {pid}
attempt("read files", lambda: open(secret).read())
attempt("list folders", lambda: os.listdir(os.path.dirname(secret)))
attempt("write files", lambda: open(secret + ".written", "w"))
attempt("read the environment of others", lambda: open(f"/proc/{{pid}}/environ").read())
attempt("connect to the network", lambda: socket.create_connection(("127.0.0.1", port), 1))
attempt("send datagrams", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port)))
attempt("signal others", lambda: os.kill(pid, 0))
attempt("signal its parent", lambda: os.kill(os.getppid(), 0))
attempt("start processes", lambda: os.fork() or os._exit(0))
attempt("use memory over its limit", lambda: bytearray({memory}))
print("end")
"""


def choose(isolation: str) -> str:
    """The level of isolation to run at.

    Args:
        isolation: "auto", or a level by name.

    Raises:
        ConfigError: an unknown level, one that does not hold, or "auto" where none does.
    """
    if not sys.platform.startswith("linux"):
        raise ConfigError(
            f"generated programs run on Linux only, this is {sys.platform}; train on Linux or in a container"
        )
    known = ("auto", *LEVELS, "none")
    if isolation not in known:
        raise ConfigError(
            f"unknown isolation {isolation!r}{suggest(str(isolation), known)}; available: {', '.join(known)}"
        )
    if isolation == "none":
        return isolation
    faults = {}
    for level in LEVELS if isolation == "auto" else (isolation,):
        faults[level] = missing(level)
        if not faults[level]:
            return level
    raise ConfigError(
        "generated programs cannot be isolated on this machine: "
        + "; ".join(f"{level}: {fault}" for level, fault in faults.items())
        + ". Give the process one of them (unprivileged user namespaces on Linux 5.12, or Landlock on Linux 6.2; in a"
        " container the seccomp profile has to permit them), or write `isolation: none` if nothing on this machine is"
        " worth protecting from what a policy generates"
    )


@functools.cache
def missing(level: str) -> str:
    """What a level lacks on this machine; empty if it holds."""
    limits = Limits(memory=256)
    with tempfile.TemporaryDirectory(prefix="morl-code-") as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        secret = Path(folder, "secret")
        secret.write_text("secret")
        attempts = _ATTEMPTS.format(
            secret=str(secret), port=listener.getsockname()[1], pid=os.getpid(), memory=512 * 2**20
        )
        try:
            sandbox = Sandbox(level, limits)
        except (SandboxRefused, RewardError) as error:
            return str(error)
        try:
            outcome = sandbox.run_script(attempts, "", limits.wall)
        except RewardError as error:
            return str(error)
        finally:
            sandbox.close()
    *broken, end = outcome.output.split("\n")[:-1] or [""]
    if not outcome.passed or end != "end":
        return f"a program could not run: {outcome.error}"
    return f"a program could {', '.join(broken)}" if broken else ""
