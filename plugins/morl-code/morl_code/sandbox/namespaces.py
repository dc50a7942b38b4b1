"""A world of its own for a zygote: no network, no other processes, and no files but Python's, read-only.

The same steps as bubblewrap and container runtimes take, in the same order; see `ISOLATION.md` on why they stand here
rather than behind a program that many machines lack.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from . import linux

_ISOLATED = (
    linux.CLONE_NEWUSER
    | linux.CLONE_NEWNS
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWNET
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUTS
)
_NOBODY = 65534
_OLD = "/.old"
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
TEMPORARY = "/tmp"


def enter(visible: Iterable[str]) -> None:
    """Moves into new namespaces, in which only the `visible` files exist.  Returns in a child process, their init.

    The calling process waits for it outside and ends with it.

    Raises:
        OSError: the kernel, or whoever configured it, does not permit it.
    """
    _unshare_with_users()
    init = os.fork()
    if init:
        os.closerange(3, 1024)
        os.waitpid(init, 0)
        os._exit(0)
    # The child's end must not depend on the control socket alone: it may be busy with a program.
    linux.prctl("PR_SET_PDEATHSIG", linux.PR_SET_PDEATHSIG, 9)
    _replace_root(visible)


def new_processes() -> None:
    """The next process that is forked is the init of a process namespace of its own: all in it end with it."""
    own = os.pidfd_open(os.getpid())
    try:
        linux.setns(own, linux.CLONE_NEWPID)  # undoes the last call, without which unshare is refused
    finally:
        os.close(own)
    linux.unshare(linux.CLONE_NEWPID)


def new_temporary(size_mib: int) -> None:
    """Gives this process an empty temporary folder in memory, which vanishes with it, as the working folder."""
    linux.unshare(linux.CLONE_NEWNS)
    options = f"size={size_mib}m,nr_inodes=1024,mode=1777"
    linux.mount("tmpfs", TEMPORARY, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)
    os.chdir(TEMPORARY)


def drop_user() -> None:
    """Becomes the unprivileged user of the namespace, where there is one, and gives up all capabilities."""
    if os.getuid() == 0:
        with contextlib.suppress(OSError):  # not mapped: stays what it is, without capabilities
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    linux.drop_capabilities()


def _unshare_with_users() -> None:
    """Unshares; a helper that stays outside then says which users exist inside, for only that is permitted."""
    user, group, target = os.getuid(), os.getgid(), os.getpid()
    go_read, go_write = os.pipe()
    helper = os.fork()
    if not helper:
        os.close(go_write)
        os._exit(_map_users(user, group, target) if os.read(go_read, 1) else 0)
    os.close(go_read)
    try:
        linux.unshare(_ISOLATED)
        os.write(go_write, b"1")
    finally:
        os.close(go_write)
        _, status = os.waitpid(helper, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise OSError(code, f"mapping users into the namespace: {os.strerror(abs(code))}")


def _map_users(user: int, group: int, target: int) -> int:
    try:
        if user == 0:
            # Root gets an unprivileged user to become; where it may not say so (rootless containers) it stays itself.
            try:
                _write_maps(target, f"0 0 1\n{_NOBODY} {_NOBODY} 1", f"0 0 1\n{_NOBODY} {_NOBODY} 1")
                return 0
            except OSError:
                pass
        with open(f"/proc/{target}/setgroups", "w") as file:
            file.write("deny")
        _write_maps(target, f"{user} {user} 1", f"{group} {group} 1")
    except OSError as error:
        return error.errno or 1
    return 0


def _write_maps(target: int, users: str, groups: str) -> None:
    for name, text in (("uid_map", users), ("gid_map", groups)):
        with open(f"/proc/{target}/{name}", "w") as file:
            file.write(text)


def _replace_root(visible: Iterable[str]) -> None:
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("tmpfs", TEMPORARY, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "size=1m,mode=755")
    os.mkdir(TEMPORARY + _OLD)
    linux.pivot_root(TEMPORARY, TEMPORARY + _OLD)
    os.chdir("/")
    for path in sorted(visible, key=len):
        _show(path)
    for device in DEVICES:
        _show(device)
    os.makedirs(TEMPORARY, exist_ok=True)
    linux.unmount(_OLD)
    os.rmdir(_OLD)
    linux.make_read_only("/")


def _show(path: str) -> None:
    """Binds one file or folder of the old root to the same place; a link stays a link, and its target is shown."""
    if os.path.lexists(path):
        return
    old = _OLD + path
    if os.path.islink(old):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(os.readlink(old), path)
        _show(os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path))))
        return
    if os.path.isdir(old):
        os.makedirs(path)
    elif os.path.exists(old):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    else:
        return
    linux.mount(old, path, flags=linux.MS_BIND | linux.MS_REC)
