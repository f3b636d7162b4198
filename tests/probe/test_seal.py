import ctypes
import errno
import platform
import struct
import subprocess
import sys
import tempfile

import pytest

from gateway.probe import seal as room
from gateway.probe.seal import DENIED, program, seal

needs_seal = pytest.mark.skipif(
    sys.platform != "linux" or program(platform.machine()) is None, reason="no list of system calls for this machine"
)

TRIES = {
    "open a file": "open('/etc/hostname')",
    "open one to write": "open('/tmp/audiogate-never', 'w')",
    "remove one": "os.unlink('/tmp/audiogate-never')",
    "make a socket": "socket.socket()",
    "make a pair of sockets": "socket.socketpair()",
    "fork": "os.fork()",
    "start a thread": "threading.Thread(target=print).start()",
    "run a program": "os.execv('/bin/true', ['true'])",
    "signal the gateway": "os.kill(os.getppid(), 0)",
    "ask for the gateway's limits": "resource.prlimit(os.getppid(), resource.RLIMIT_CPU)",
    "read the gateway's memory": "libc.process_vm_readv(os.getppid(), None, 0, None, 0, 0)",
    "trace the gateway": "libc.ptrace(16, os.getppid(), None, None)",
    "go into another name space": "libc.unshare(0x40000000)",
}
SCRIPT = """
import ctypes, os, resource, socket, threading
from gateway.probe.seal import seal
libc = ctypes.CDLL(None, use_errno=True)
assert seal() == ""
allowed = []
for name, what in TRIES.items():
    try:
        if eval(what) != -1 or ctypes.get_errno() != 1:
            allowed.append(name)
    except (PermissionError, RuntimeError):  # the latter: no thread
        pass
resource.setrlimit(resource.RLIMIT_CPU, (50, 60))
print(allowed, os.pread(0, 5, 1))
"""


@needs_seal
def test_nothing_that_a_child_would_want_that_was_taken_over_is_left_to_it() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"sound's bytes")
        file.flush()
        command = [sys.executable, "-c", f"TRIES = {TRIES!r}\n{SCRIPT}"]
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, '[] b"ound\'"\n'), done.stderr


def ruling(steps: bytes, *, machine: int, call: int, first: int = 0) -> int:
    """What the kernel would make of a system call, by the filter's own instructions."""
    data = struct.pack("=IIQQ", call, machine, 0, first)
    at, held = 0, 0
    while True:
        code, yes, no, value = struct.unpack_from("=HBBI", steps, 8 * at)
        at += 1
        if code == 0x06:
            return int(value)
        if code == 0x20:
            held = int(struct.unpack_from("=I", data, value)[0])
        else:
            at += yes if (held == value if code == 0x15 else held >= value) else no


ALLOWED, REFUSED, KILLED = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000


@pytest.mark.parametrize(("machine", "name", "column"), [("x86_64", 0xC000003E, 0), ("aarch64", 0xC00000B7, 1)])
def test_each_call_on_the_list_is_refused_and_no_other(machine: str, name: int, column: int) -> None:
    steps = program(machine)
    assert steps is not None
    listed = {numbers[column] for numbers in DENIED.values()}
    prlimit = (302, 261)[column]
    for call in range(600):
        expected = REFUSED if call in listed else ALLOWED
        assert ruling(steps, machine=name, call=call) == expected, call
        assert ruling(steps, machine=name, call=call | 0x40000000) == REFUSED
        if call != prlimit:
            assert ruling(steps, machine=name, call=call, first=7) == expected, call
    assert ruling(steps, machine=name, call=prlimit, first=7) == REFUSED
    assert ruling(steps, machine=name ^ 1, call=0) == KILLED


def test_an_architecture_without_a_list_has_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert program("abacus") is None
    asked: list[int] = []
    monkeypatch.setattr(room, "_prctl", lambda: lambda what, *_: asked.append(what) or 0)
    monkeypatch.setattr(platform, "machine", lambda: "abacus")
    assert seal() == "an architecture without a list"
    assert asked == [1]  # it ends with the gateway all the same


def test_a_system_without_such_a_call_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_prctl", lambda: None)
    assert seal() == "no prctl"


@pytest.mark.parametrize("refuses", [38, 22])
def test_a_kernel_that_refuses_is_quoted(refuses: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def prctl(what: int, *_: int) -> int:
        if what == refuses:
            ctypes.set_errno(errno.EINVAL)
            return -1
        return 0

    monkeypatch.setattr(room, "_prctl", lambda: prctl)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert seal() == "EINVAL"


def test_the_library_has_it_here() -> None:
    assert (room._prctl() is not None) == (sys.platform == "linux")
