"""Takes from a process every file but those it may read, by Landlock: no privileges needed, no way back."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable

from . import linux

_VERSION = 1  # flag of landlock_create_ruleset
_PATH_BENEATH = 1  # type of rule

_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_DIR = 1 << 3
_ALL_OF_VERSION_3 = (1 << 15) - 1
_IOCTL_DEV = 1 << 15  # version 5
_NETWORK = 0b11  # bind and connect of TCP: version 4
_SCOPED = 0b11  # abstract sockets and signals: version 6


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def version() -> int:
    """What the kernel offers.

    Raises:
        OSError: no Landlock, or an early version that lets a process truncate any file.
    """
    number = linux.syscall("landlock", linux.SYS_LANDLOCK_CREATE_RULESET, 0, 0, _VERSION)
    if number < 3:
        raise OSError(f"Landlock version 3 (Linux 6.2) is needed, this kernel has {number}")
    return number


def allow_reading(paths: Iterable[str]) -> None:
    """Leaves this thread the files below `paths`, for reading, and nothing else.  Needs `PR_SET_NO_NEW_PRIVS`."""
    known = version()
    rules = _Ruleset(
        _ALL_OF_VERSION_3 | (_IOCTL_DEV if known >= 5 else 0),
        _NETWORK if known >= 4 else 0,
        _SCOPED if known >= 6 else 0,
    )
    # Kernels refuse a structure with fields set that they do not know, and take a longer one whose rest is 0.
    ruleset = linux.syscall(
        "landlock_create_ruleset", linux.SYS_LANDLOCK_CREATE_RULESET, ctypes.byref(rules), ctypes.sizeof(rules), 0
    )
    try:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                _allow(ruleset, path, _EXECUTE | _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0))
        with contextlib.suppress(FileNotFoundError):
            _allow(ruleset, os.devnull, _READ_FILE | _WRITE_FILE)
        linux.syscall("landlock_restrict_self", linux.SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = _PathBeneath(rights, fd)
        linux.syscall("landlock_add_rule", linux.SYS_LANDLOCK_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(fd)
