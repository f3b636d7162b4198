"""Standard output that never makes us wait."""

import io
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from gateway import stdout
from gateway.stdout import ATOMIC, MOST, Out

LINE = "x" * 99 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """Its reader's end, and a stream on the other."""
    ours, theirs = os.pipe()
    with open(theirs, "w") as stream:
        yield ours, stream
        os.close(ours)


def opened(stream: TextIO | None) -> Out:
    """Standard output that is this stream."""
    out = Out()
    out.open(stream)
    return out


def test_what_a_pipe_does_not_take_waits_and_what_is_too_much_is_lost_and_counted(pipe: tuple[int, TextIO]) -> None:
    ours, stream = pipe
    out = opened(stream)
    for _ in range(20_000):
        out.write(LINE)
    lost = out.lost()
    assert 0 < lost < 20_000
    assert os.get_blocking(stream.fileno()), "others who share it wait as they did"
    read = bytearray()
    while len(read) < (20_000 - lost) * 100:
        read += os.read(ours, 65_536)
        out.flush()
    assert read == LINE.encode() * (20_000 - lost)
    assert (20_000 - lost) * 100 >= MOST
    out.write("once more\n")
    assert os.read(ours, 100) == b"once more\n"
    assert out.lost() == 0


def test_what_waits_at_the_end_gets_a_moment(pipe: tuple[int, TextIO]) -> None:
    ours, stream = pipe
    out = opened(stream)
    for _ in range(1000):
        out.write(LINE)
    out.finish(seconds=0.02)  # nobody reads
    found = bytearray()

    def read() -> None:
        while len(found) < 100_000:
            found.extend(os.read(ours, 65_536))

    reader = threading.Thread(target=read)
    reader.start()
    out.finish(seconds=10)
    reader.join()
    assert found == LINE.encode() * 1000


def test_a_pipe_that_is_closed_loses_what_is_written_and_raises_nothing() -> None:
    ours, theirs = os.pipe()
    with open(theirs, "w") as stream:
        out = opened(stream)
        os.close(ours)
        out.write(LINE * 3)
        assert (out.lost(), out.lost()) == (3, 0)


def test_a_process_without_standard_output_loses_all() -> None:
    out = opened(None)
    out.write("one\ntwo\n")
    out.write("")
    assert out.lost() == 2


def test_a_socket_is_not_waited_for_either() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, theirs.makefile("w") as stream:
        out = opened(stream)
        for _ in range(20_000):
            out.write(LINE)
        assert out.lost() > 0
        assert ours.recv(100) == LINE.encode()
        assert theirs.getblocking()


def test_a_file_takes_everything(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w") as stream:
        out = opened(stream)
        for _ in range(10_000):
            out.write(LINE)
        out.open(stream)  # once more, nothing changes
        out.write("ü\ud800\n")
        assert out.lost() == 0
    assert (tmp_path / "log").read_bytes() == LINE.encode() * 10_000 + b"\xc3\xbc\\ud800\n"


def test_a_stream_that_is_no_file_is_written_to() -> None:
    stream = io.StringIO()
    out = opened(stream)
    out.write("a line\n")
    assert stream.getvalue() == "a line\n"


def test_a_pipe_that_cannot_be_opened_again_is_asked_first(
    pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_right(*_: object) -> int:
        raise PermissionError

    ours, stream = pipe
    monkeypatch.setattr(stdout.os, "open", no_right)
    out = opened(stream)
    for _ in range(20_000):
        out.write(LINE)
    assert out.lost() > 0
    assert os.read(ours, 100) == LINE.encode()
    out.write("y" * (2 * ATOMIC))
