"""Takes from the process that calls it, for good, what reading an upload does not need.

Two things, both without privileges, in a container too. A filter of system calls: from then on no file can be opened,
no socket made, no program or thread started, no other process touched. And no rights are ever gained again. Where the
kernel has no such filter, or the machine is one whose system calls are not listed here, `seal` says so.
"""

import ctypes
import errno
import platform
import signal
import struct
from collections.abc import Callable, Mapping

_PDEATHSIG, _SECCOMP, _NO_NEW_PRIVS, _FILTER = 1, 22, 38, 2

_ARCHITECTURES: Mapping[str, tuple[int, int]] = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""What the kernel calls it, and the column of DENIED."""

DENIED: Mapping[str, tuple[int | None, int | None]] = {
    "open": (2, None),
    "creat": (85, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "open_by_handle_at": (304, 265),
    "truncate": (76, 45),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "chmod": (90, None),
    "fchmodat": (268, 53),
    "chown": (92, None),
    "fchownat": (260, 54),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "io_uring_setup": (425, 425),
    "clone": (56, 220),
    "clone3": (435, 435),
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "setpriority": (141, 140),
    "sched_setaffinity": (203, 122),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "chroot": (161, 51),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
}
"""Numbers of system calls on each architecture, None where there is none of this name."""

_PRLIMIT = (302, 261)  # of oneself: its limit of processor time moves along; of others: not

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
_X32 = 0x40000000  # the same calls by other numbers


def program(machine: str) -> bytes | None:
    """The filter for this machine, None where its system calls are not listed: instructions of eight bytes each."""
    if machine not in _ARCHITECTURES:
        return None
    name, column = _ARCHITECTURES[machine]
    numbers = [number for numbers in DENIED.values() if (number := numbers[column]) is not None]
    left = len(numbers)
    steps = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, name),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, left + 3, 0, _X32),
        *[(_EQUAL, left - at + 2, 0, number) for at, number in enumerate(numbers)],
        (_EQUAL, 0, 3, _PRLIMIT[column]),
        (_LOAD, 0, 0, 16),
        (_EQUAL, 1, 0, 0),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def seal() -> str:
    """Do it. Empty if all of it holds, else why the filter does not."""
    prctl = _prctl()
    if prctl is None:
        return "no prctl"
    prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    steps = program(platform.machine())
    if steps is None:
        return "an architecture without a list"
    found = _Program(len(steps) // 8, steps)
    if prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(_SECCOMP, _FILTER, ctypes.addressof(found), 0, 0):
        return errno.errorcode.get(ctypes.get_errno(), "unknown")
    return ""


def _prctl() -> Callable[..., int] | None:
    found = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)
    if found is not None:
        found.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    return found
