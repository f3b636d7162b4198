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
