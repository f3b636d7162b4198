"""What goes on without the store."""

import pytest

from gateway.policy.grace import KNOWN_FOR, goes_on


@pytest.mark.parametrize(
    ("mode", "seen_ago", "spent", "goes"),
    [
        ("closed", 1.0, 0, False),
        ("open", 1.0, 10**9, True),
        ("open", KNOWN_FOR * 9, 10**9, True),
        ("open", None, 0, False),  # nobody knows this key
        ("grace", None, 0, False),
        ("grace", KNOWN_FOR, 90, True),
        ("grace", KNOWN_FOR + 1, 0, False),
        ("grace", 1.0, 91, False),
    ],
)
def test_who_goes_on(mode, seen_ago, spent, goes) -> None:  # type: ignore[no-untyped-def]
    assert goes_on(mode, seen_ago=seen_ago, spent=spent, asked=10, most=100) is goes
