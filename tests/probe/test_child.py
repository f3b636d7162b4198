import io
import os
import resource
import socket
import struct
import threading

import av
import pytest

from gateway.probe import child
from gateway.probe.span import SPAN
from tests.media import KINDS, decoded, make, packed, patched, silence, stored

SECONDS = 4.0


def measure(content: bytes) -> float | None:
    with stored(content) as fd:
        return child.measure(fd)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seconds", [0.3, 4.0])
def test_good_files_are_measured(kind: str, seconds: float) -> None:
    assert measure(make(kind, seconds)) == pytest.approx(seconds, rel=0.02, abs=0.1)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"mp4", "m4a", "mov"}))
def test_half_a_file_lasts_as_long_as_what_is_there(kind: str) -> None:
    half = make(kind, 10.0)[: len(make(kind, 10.0)) // 2]
    assert measure(half) == pytest.approx(decoded(half), rel=0.05)


@pytest.mark.parametrize("kind", ["mp4", "m4a", "mov"])
def test_half_a_file_whose_index_was_at_its_end_cannot_be_read(kind: str) -> None:
    whole = make(kind, 10.0)
    with pytest.raises(av.FFmpegError):
        measure(whole[: len(whole) // 2])


def test_a_forged_count_of_frames_changes_nothing() -> None:
    honest = make("mp3", SECONDS)
    mark = b"Xing" if b"Xing" in honest else b"Info"
    assert measure(patched(honest, mark, 8, struct.pack(">I", 8))) == pytest.approx(SECONDS, rel=0.02)


@pytest.mark.parametrize("kind", ["mp4", "m4a"])
def test_forged_durations_of_a_film_change_nothing(kind: str) -> None:
    forged = make(kind, SECONDS)
    for mark, offset in ((b"mvhd", 20), (b"mdhd", 20), (b"tkhd", 24)):
        forged = patched(forged, mark, offset, struct.pack(">I", 10))
    assert measure(forged) == pytest.approx(SECONDS, rel=0.02)


def test_forged_durations_of_single_samples_change_nothing() -> None:
    honest = make("m4a", SECONDS)
    assert struct.unpack_from(">I", honest, honest.index(b"stts") + 16) == (1024,)
    forged = patched(honest, b"stts", 16, struct.pack(">I", 1))
    seconds = measure(forged)
    assert seconds is not None
    assert seconds >= SECONDS * 0.98


@pytest.mark.parametrize("total", [1_000, 0, 2**36 - 1])
def test_a_forged_number_of_samples_changes_nothing(total: int) -> None:
    honest = make("flac", SECONDS)
    number = int.from_bytes(honest[18:26]) >> 36 << 36 | total
    assert measure(honest[:18] + number.to_bytes(8) + honest[26:]) == pytest.approx(SECONDS, rel=0.02)


@pytest.mark.parametrize("size", [96, 9_600, 0, 2**31, 2**32 - 1])
def test_a_forged_size_of_wav_data_changes_nothing(size: int) -> None:
    forged = patched(make("wav", SECONDS), b"data", 4, struct.pack("<I", size))
    assert measure(forged) == pytest.approx(SECONDS, rel=0.02)


@pytest.mark.parametrize(
    "kind", ["wav", "wav_stream", "mp3", "mp3_vbr", "mpga", "ogg", "ogg_vorbis", "webm_live", "aac"]
)
def test_two_files_in_one_last_as_long_as_both(kind: str) -> None:
    seconds = measure(make(kind, SECONDS) * 2)
    assert seconds is not None
    assert seconds >= 2 * SECONDS * 0.98


def test_metadata_behind_the_sound_of_a_wav_is_not_billed() -> None:
    chunks = (
        b"LIST" + struct.pack("<I", 300_001) + bytes(300_002) + b"id3 " + struct.pack("<I", 100_000) + bytes(100_000)
    )
    assert measure(make("wav", 1.0) + chunks) == pytest.approx(1.0, rel=0.02)


def test_sound_dressed_as_metadata_that_reaches_beyond_the_file_is_billed() -> None:
    forged = make("wav", 1.0) + b"LIST" + struct.pack("<I", 2**31) + bytes(96_000)
    assert measure(forged) == pytest.approx(2.0, rel=0.02)


def test_the_longest_of_several_streams_counts() -> None:
    film = io.BytesIO()
    with av.open(film, "w", format="matroska") as container:
        streams = [container.add_stream("pcm_s16le", rate=8_000, layout="mono") for _ in range(2)]
        for stream, seconds in zip(streams, (1, 3), strict=True):
            for second in range(seconds):
                frame = av.AudioFrame(format="s16", layout="mono", samples=8_000)
                frame.planes[0].update(bytes(16_000))
                frame.sample_rate, frame.pts = 8_000, second * 8_000
                container.mux(stream.encode(frame))
    assert measure(film.getvalue()) == pytest.approx(3.0)


def test_a_codec_that_nobody_knows_goes_by_the_time_stamps() -> None:
    assert measure(make("webm", SECONDS).replace(b"A_OPUS", b"A_OPUZ")) == pytest.approx(SECONDS, rel=0.02)


@pytest.mark.parametrize(
    "content", [b"", b"no sound", b"<html>" * 500, bytes(10_000), b"RIFF\0\0\0\0AVI LIST" + bytes(99)]
)
def test_what_is_no_sound_cannot_be_read(content: bytes) -> None:
    with pytest.raises(av.FFmpegError):
        measure(content)


def test_a_file_that_breaks_in_the_middle_lasts_as_long_as_what_came_before() -> None:
    honest = make("m4a", SECONDS)
    count = struct.unpack_from(">I", honest, honest.index(b"stsz") + 12)[0]
    broken = patched(honest, b"stsz", 16 + 4 * (count // 2), b"\x3f\xff\xff\xff")
    assert measure(broken) == pytest.approx(SECONDS / 2, rel=0.05)


def test_a_file_without_one_packet_has_no_duration() -> None:
    assert measure(make("wav", 1.0)[:78]) is None


def test_the_offset_of_the_descriptor_stays_where_it_is() -> None:
    with stored(make("mp3")) as fd:
        os.lseek(fd, 17, os.SEEK_SET)
        assert child.measure(fd) is not None
        assert os.lseek(fd, 0, os.SEEK_CUR) == 17


def test_an_upload_reads_and_seeks_like_a_file() -> None:
    with stored(b"0123456789") as fd:
        upload = child.Upload(fd, start=0, size=10)
        assert (upload.read(3), upload.tell()) == (b"012", 3)
        assert (upload.seek(2, os.SEEK_CUR), upload.read(2)) == (5, b"56")
        assert (upload.seek(-1, os.SEEK_END), upload.read(2), upload.read(2)) == (9, b"9", b"")


def test_only_the_bytes_that_are_meant_are_read() -> None:
    sound = make("mp3", 1.0)
    with stored(b"in front" + sound + b"behind") as fd:
        assert child.measure(fd, at=8, size=len(sound)) == pytest.approx(1.0, rel=0.02, abs=0.1)
        upload = child.Upload(fd, start=8, size=len(sound))
        assert (upload.read(3), upload.seek(0, os.SEEK_END), upload.read(9)) == (sound[:3], len(sound), b"")


def test_serving_answers_each_descriptor_until_the_other_end_closes() -> None:
    ours, theirs = socket.socketpair()
    told: list[str] = []
    thread = threading.Thread(target=child.serve, args=(theirs,), kwargs={"before_each": lambda: told.append("job")})
    thread.start()
    with ours, theirs, ours.makefile("rb") as lines:
        assert lines.readline() == b"\n"
        with stored(make("wav", 1.0)) as fd:
            socket.send_fds(ours, [SPAN.pack(0, os.fstat(fd).st_size)], [fd])
            assert lines.readline() == b'{"seconds": 1.0}\n'
        with stored(b"no sound") as fd:
            socket.send_fds(ours, [SPAN.pack(0, 8)], [fd])
            assert lines.readline() == b'{"error": "InvalidDataError"}\n'
        ours.send(SPAN.pack(0, 0))
        assert lines.readline() == b'{"error": "IndexError"}\n'
        ours.shutdown(socket.SHUT_WR)
        thread.join(10)
    assert not thread.is_alive()
    assert told == ["job"] * 3


def test_the_limit_of_processor_time_moves_with_what_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _which, pair: limits.append(pair))
    child.allow_cpu()
    assert limits[0][0] >= used.ru_utime + used.ru_stime + child.CPU_SECONDS


def test_hours_of_silence_in_a_small_file_are_hours() -> None:
    assert len(silence(7_200)) < 500_000
    assert measure(silence(7_200)) == pytest.approx(7_200, rel=0.001)


@pytest.mark.parametrize("format_", ["matroska", "webm", "mp4", "ogg"])
def test_a_packet_that_claims_ten_hours_lasts_what_so_many_bytes_can(format_: str) -> None:
    forged = packed(format_, [(bytes([3 << 3]), 0, 2_880), (bytes([3 << 3]), 36_000 * 48_000, 2_880)])
    seconds = measure(forged)
    assert seconds is not None
    assert decoded(forged) * 0.98 <= seconds <= len(forged) / 2 < 1_500
