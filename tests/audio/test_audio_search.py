"""Both ways to look for a boundary find the same."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.audio import search
from gateway.audio.search import may_hold

MARK = b"\r\n--mark"
BITS = st.sampled_from([b"\r", b"\n", b"-", b"\r\n--mar", MARK, b"mark", b"\0", b"x" * 50])


@given(st.lists(BITS, max_size=12).map(b"".join))
@example(b"")
@example(MARK)
@example(b"x" + MARK[:-1])
@example(b"\r" * 100)
def test_a_mark_is_seen_where_it_is_and_where_it_may_begin(data: bytes) -> None:
    expected = MARK in data or any(data.endswith(MARK[:size]) for size in range(1, len(MARK)))
    for way in (search._SEARCH, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(search, "_SEARCH", way)
            assert may_hold(data, MARK) is expected


@pytest.mark.parametrize("error", [OSError, TypeError, AttributeError])
def test_without_a_c_library_that_searches_it_does_as_well(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def missing(_: object) -> None:
        raise error

    monkeypatch.setattr("ctypes.CDLL", missing)
    assert search._memmem() is None
    monkeypatch.setattr(search, "_SEARCH", search._memmem())
    assert search.may_hold(b"one--mark--two", b"-mark")
    assert not search.may_hold(b"one--two", b"-mark")
