"""The command that starts a zygote in bubblewrap (https://github.com/containers/bubblewrap)."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig

from morl_code.sandbox.confine import LIBRARIES
from morl_code.sandbox.interface import SandboxRefused
from morl_code.sandbox.namespaces import DEVICES

_NOBODY = "65534"


def command(package: str) -> list[str]:
    """What stands before the zygote's own command: every namespace new, Python's files read-only, nothing to write to.

    Args:
        package: the folder of this plugin's package, from which the zygote starts.

    Raises:
        SandboxRefused: bubblewrap is not installed.
    """
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxRefused("the command bwrap is not installed (package bubblewrap)")
    python = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    shown = [*LIBRARIES, os.path.join(sys.base_prefix, "lib"), *python, interpreter(), package]
    binds = [word for path in dict.fromkeys(shown) for word in ("--ro-bind-try", path, path)]
    devices = [word for path in DEVICES for word in ("--dev-bind-try", path, path)]
    apart = ["--unshare-all", "--unshare-user", "--uid", _NOBODY, "--gid", _NOBODY, "--cap-drop", "ALL"]
    return [program, *apart, "--die-with-parent", *binds, *devices, "--remount-ro", "/", "--chdir", "/", "--"]


def interpreter() -> str:
    """Of Python itself: a virtual environment's link to it would need the files of that, too."""
    return os.path.realpath(sys.executable)
