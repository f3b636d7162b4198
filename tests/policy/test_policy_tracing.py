"""Whose trace a request belongs to, and whether it is kept."""

import pytest

from gateway.policy.tracing import Trace, header, joined

THEIRS, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = {"trace": 0xABC, "span": 0xDEF}


@pytest.mark.parametrize(("flags", "kept"), [("01", True), ("00", False), ("03", True), ("02", False)])
def test_a_caller_with_a_trace_decides_whether_it_is_kept(flags: str, kept: bool) -> None:
    for share in (0.0, 1.0):
        found = joined(f"00-{THEIRS}-{PARENT}-{flags}", **GIVEN, share=share)
        assert found == Trace(int(THEIRS, 16), 0xDEF, int(PARENT, 16), kept)


def test_later_versions_may_say_more() -> None:
    assert joined(f"01-{THEIRS}-{PARENT}-01-more", **GIVEN, share=0).trace == int(THEIRS, 16)
    assert joined(f"cc-{THEIRS}-{PARENT}-01", **GIVEN, share=0).parent == int(PARENT, 16)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "nonsense",
        f"ff-{THEIRS}-{PARENT}-01",
        f"00-{THEIRS}-{PARENT}-01-more",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{THEIRS}-{'0' * 16}-01",
        f"00-{THEIRS.upper()}-{PARENT}-01",
        f"00-{THEIRS[1:]}-{PARENT}-01",
        f"00-{THEIRS}-{PARENT}-1",
        f"00-{THEIRS}-{PARENT}-01\n",
        f" 00-{THEIRS}-{PARENT}-01",
    ],
)
def test_what_is_not_well_formed_begins_a_trace_of_its_own(said: str) -> None:
    assert joined(said, **GIVEN, share=1) == Trace(0xABC, 0xDEF, 0, True)
    assert joined(said, **GIVEN, share=0) == Trace(0xABC, 0xDEF, 0, False)


@pytest.mark.parametrize(
    ("share", "trace", "kept"), [(0.25, 2**62 - 1, True), (0.25, 2**62, False), (0.5, 2**62, True)]
)
def test_a_share_of_the_others_is_kept_by_the_last_half_of_their_id(share: float, trace: int, kept: bool) -> None:
    assert joined("", trace=trace | 7 << 64, span=1, share=share).kept is kept


def test_all_and_none_are_just_that() -> None:
    assert joined("", trace=2**128 - 1, span=1, share=1).kept
    assert not joined("", trace=2**64, span=1, share=0).kept


def test_what_upstreams_are_told() -> None:
    trace = Trace(int(THEIRS, 16), 1, 2, True)
    assert header(trace, int(PARENT, 16)) == f"00-{THEIRS}-{PARENT}-01"
    assert header(trace._replace(kept=False), 10) == f"00-{THEIRS}-000000000000000a-00"
    assert joined(header(trace, 5), **GIVEN, share=0) == Trace(trace.trace, 0xDEF, 5, True)
