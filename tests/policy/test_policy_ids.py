import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.ids import DRAW_BYTES, began, request_id

moments = st.integers(0, 2**48 - 1)
draws = st.binary(min_size=DRAW_BYTES, max_size=DRAW_BYTES)


@given(moments, draws)
def test_an_id_is_a_uuid_of_version_7_in_openais_form(ms: int, draw: bytes) -> None:
    text = request_id(ms, draw)
    assert re.fullmatch(r"req_[0-9a-f]{32}", text)
    read = uuid.UUID(text[4:])
    assert (read.version, read.variant) == (7, uuid.RFC_4122)
    assert read.int >> 80 == ms


@given(moments, moments, draws, draws)
def test_ids_sort_by_time(one: int, other: int, draw: bytes, another: bytes) -> None:
    if one != other:
        assert (request_id(one, draw) < request_id(other, another)) is (one < other)


def test_every_bit_of_the_draw_but_six_counts() -> None:
    ids = {request_id(1, (1 << bit).to_bytes(DRAW_BYTES, "big")) for bit in range(8 * DRAW_BYTES)}
    assert len(ids) == 8 * DRAW_BYTES - 6 + 1  # version and variant take six; those draws all give the same id


def test_a_draw_of_another_length_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        request_id(1, bytes(DRAW_BYTES + 1))


def test_an_id_tells_when_its_request_began() -> None:
    assert began(request_id(1_750_000_000_123, b"\xff" * DRAW_BYTES)) == 1_750_000_000.123
