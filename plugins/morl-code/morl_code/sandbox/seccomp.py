"""The system calls that a confined process may not make, as a seccomp filter.

The list forbids rather than allows: what Python, its C library and the kernel need for computing changes from release
to release, and the walls are the namespaces or Landlock.  The filter is there for what these leave open, for the limits
(one process per program makes the memory limit exact), and to keep generated code away from rarely used kernel code.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import struct

from . import linux

# name=number on x86_64/number on aarch64, from the kernel's unistd.h.
_FORBIDDEN = """
# other processes: none may be made, none may be touched
fork=57/-  vfork=58/-  execve=59/221  execveat=322/281  kill=62/129  tkill=200/130  tgkill=234/131
rt_sigqueueinfo=129/138  rt_tgsigqueueinfo=297/240  pidfd_open=434/434  pidfd_send_signal=424/424
pidfd_getfd=438/438  ptrace=101/117  process_vm_readv=310/270  process_vm_writev=311/271  process_madvise=440/440
process_mrelease=448/448  kcmp=312/272  setsid=112/157  setpgid=109/154  setpriority=141/140  ioprio_set=251/30
sched_setaffinity=203/122  sched_setscheduler=144/119  sched_setparam=142/118  sched_setattr=314/274
migrate_pages=256/238  move_pages=279/239
# the network, and file descriptors of others
socket=41/198  connect=42/203  bind=49/200  listen=50/201  accept=43/202  accept4=288/242  sendmsg=46/211
recvmsg=47/212  sendmmsg=307/269  recvmmsg=299/243  io_uring_setup=425/425  io_uring_enter=426/426
io_uring_register=427/427
# memory that the limits do not count
memfd_create=319/279  memfd_secret=447/447  shmget=29/194  shmat=30/196  shmctl=31/195  semget=64/190  semctl=66/191
semop=65/193  semtimedop=220/192  msgget=68/186  msgsnd=69/189  msgrcv=70/188  msgctl=71/187  mq_open=240/180
mq_unlink=241/181  add_key=248/217  request_key=249/218  keyctl=250/219
# what Landlock leaves to the owner of a file
chmod=90/-  fchmod=91/52  fchmodat=268/53  fchmodat2=452/452  chown=92/-  lchown=94/-  fchown=93/55  fchownat=260/54
utime=132/-  utimes=235/-  futimesat=261/-  utimensat=280/88  setxattr=188/5  lsetxattr=189/6  fsetxattr=190/7
setxattrat=463/463  removexattr=197/14  lremovexattr=198/15  fremovexattr=199/16  removexattrat=466/466  mknod=133/-
mknodat=259/33
# what only an administrator needs, and where kernels had holes
unshare=272/97  setns=308/268  chroot=161/51  pivot_root=155/41  mount=165/40  umount2=166/39  move_mount=429/429
open_tree=428/428  fsopen=430/430  fsconfig=431/431  fsmount=432/432  fspick=433/433  mount_setattr=442/442
open_by_handle_at=304/265  name_to_handle_at=303/264  setuid=105/146  setgid=106/144  setreuid=113/145
setregid=114/143  setresuid=117/147  setresgid=119/149  setgroups=116/159  setfsuid=122/151  setfsgid=123/152
bpf=321/280  perf_event_open=298/241  userfaultfd=323/282  fanotify_init=300/262  inotify_init=253/-
inotify_init1=294/26  vmsplice=278/75  init_module=175/105  finit_module=313/273  delete_module=176/106
kexec_load=246/104  kexec_file_load=320/294  reboot=169/142  swapon=167/224  swapoff=168/225  acct=163/89
quotactl=179/60  quotactl_fd=443/443  syslog=103/116  settimeofday=164/170  clock_settime=227/112
clock_adjtime=305/266  adjtimex=159/171  sethostname=170/161  setdomainname=171/162  iopl=172/-  ioperm=173/-
modify_ldt=154/-  vhangup=153/58  personality=135/92
"""

# Calls that are permitted with some arguments only: number on x86_64, on aarch64.
_SENDTO = {"x86_64": 44, "aarch64": 206}
_SOCKETPAIR = {"x86_64": 53, "aarch64": 199}
_FCNTL = {"x86_64": 72, "aarch64": 25}
_IOCTL = {"x86_64": 16, "aarch64": 29}

_AF_UNIX, _SOCKET_TYPE = 1, 0xF
_CONNECTED = (1, 5)  # STREAM, SEQPACKET: sockets that send to the other end of their pair only
# The commands that have the kernel signal another process: SETOWN, SETSIG, SETOWN_EX, SETLEASE, NOTIFY.  Landlock looks
# at the receiver from version 6 on only.
_FCNTL_SIGNALS = (8, 10, 15, 1024, 1026)
# What Python asks of files: FIOCLEX, FIONCLEX, FIONBIO, FIONREAD, TCGETS, TCGETS2, TIOCGWINSZ.  Not FIOSETOWN and
# SIOCSPGRP, which set whom a file signals, nor what devices offer.
_IOCTL_HARMLESS = (0x5451, 0x5450, 0x5421, 0x541B, 0x5401, 0x802C542A, 0x5413)

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
_PRLIMIT64 = {"x86_64": 302, "aarch64": 261}
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_X32_BIT = 0x40000000
_CLONE_THREAD = 0x00010000

_SET_MODE_FILTER = 1
_RETURN_ALLOW = 0x7FFF0000
_RETURN_ERRNO = 0x00050000
_RETURN_KILL_PROCESS = 0x80000000

# Classic BPF: opcodes, and offsets into struct seccomp_data (little-endian).
_LOAD = 0x20
_JUMP_EQUAL = 0x15
_JUMP_GREATER_EQUAL = 0x35
_JUMP_ANY_BIT = 0x45
_AND = 0x54
_RETURN = 0x06
_NUMBER, _ARCH = 0, 4


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def forbidden(machine: str) -> dict[str, int]:
    """The forbidden system calls of an architecture: name -> number.

    >>> forbidden("x86_64")["ptrace"], forbidden("aarch64")["ptrace"]
    (101, 117)
    """
    column = ("x86_64", "aarch64").index(machine)
    entries = (entry for line in _FORBIDDEN.splitlines() if not line.startswith("#") for entry in line.split())
    pairs = (entry.split("=") for entry in entries)
    return {name: int(numbers.split("/")[column]) for name, numbers in pairs if numbers.split("/")[column] != "-"}


def install() -> None:
    """Installs the filter for this thread and all that it starts.  Needs `PR_SET_NO_NEW_PRIVS`.

    Raises:
        OSError: a kernel without seccomp filters.
    """
    code = instructions(linux.machine())
    program = _Program(len(code) // 8, code)
    linux.syscall("seccomp", _SECCOMP[linux.machine()], _SET_MODE_FILTER, 0, ctypes.byref(program))


@functools.cache  # a zygote builds it before it forks
def instructions(machine: str) -> bytes:
    """The filter, in classic BPF."""
    steps = [
        _step(_LOAD, _ARCH),
        _step(_JUMP_EQUAL, _AUDIT_ARCH[machine], 1, 0),
        _step(_RETURN, _RETURN_KILL_PROCESS),
        _step(_LOAD, _NUMBER),
        _step(_JUMP_GREATER_EQUAL, _X32_BIT, 0, 1),
        _DENY,
    ]
    for number in forbidden(machine).values():
        steps += [_step(_JUMP_EQUAL, number, 0, 1), _DENY]
    # The flags of clone3 lie in memory, out of the filter's reach; without it the C library takes clone.
    steps += [_step(_JUMP_EQUAL, _CLONE3, 0, 1), _step(_RETURN, _RETURN_ERRNO | errno.ENOSYS)]
    for name, rule in (
        # Limits of the process itself may be read, and lowered; those of others may not be touched.
        (_PRLIMIT64, _only_if(_argument(0), 0)),
        # Threads, but no processes.
        (_CLONE, [_step(_LOAD, _argument(0)), _step(_JUMP_ANY_BIT, _CLONE_THREAD, 0, 1), *_ALLOW_DENY]),
        # To the other end of a pair, but to no address: Landlock keeps no local socket apart, and a namespace none that
        # has a path.
        (_SENDTO, [*_unless(_argument(4), 0), *_only_if(_argument(4) + _HIGH, 0)]),
        (_SOCKETPAIR, [*_unless(_argument(0), _AF_UNIX), *_one_of(_argument(1), _CONNECTED, _SOCKET_TYPE)]),
        (_FCNTL, _none_of(_argument(1), _FCNTL_SIGNALS)),
        (_IOCTL, _one_of(_argument(1), _IOCTL_HARMLESS)),
    ):
        steps += [_step(_JUMP_EQUAL, name[machine], 0, len(rule)), *rule]
    steps.append(_ALLOW)
    return b"".join(steps)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


_ALLOW = _step(_RETURN, _RETURN_ALLOW)
_DENY = _step(_RETURN, _RETURN_ERRNO | errno.EPERM)
_ALLOW_DENY = [_ALLOW, _DENY]
_HIGH = 4  # the upper half of an argument, which has 64 bits; calls look at the lower half of whole numbers only


def _argument(index: int) -> int:
    """Where an argument of the call lies."""
    return 16 + 8 * index


# Parts of rules.  A rule ends the filter on every way through it.


def _only_if(offset: int, value: int) -> list[bytes]:
    return _one_of(offset, (value,))


def _one_of(offset: int, values: tuple[int, ...], mask: int = 0xFFFF_FFFF) -> list[bytes]:
    return [*_tests(offset, values, mask), _DENY, _ALLOW]


def _none_of(offset: int, values: tuple[int, ...]) -> list[bytes]:
    return [*_tests(offset, values, 0xFFFF_FFFF), _ALLOW, _DENY]


def _tests(offset: int, values: tuple[int, ...], mask: int) -> list[bytes]:
    """Goes on with the next instruction but one for an argument among `values`, and with the next for any other."""
    tests = [_step(_JUMP_EQUAL, value, len(values) - index, 0) for index, value in enumerate(values)]
    return [_step(_LOAD, offset), _step(_AND, mask), *tests]


def _unless(offset: int, value: int) -> list[bytes]:
    """Denies another value, and goes on with the next instruction."""
    return [_step(_LOAD, offset), _step(_JUMP_EQUAL, value, 1, 0), _DENY]
