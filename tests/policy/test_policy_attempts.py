"""Who showed too many wrong tokens waits, and nobody else does."""

from gateway.policy.attempts import MOST, MOST_PEERS, WITHIN, Attempts


def test_after_five_wrong_ones_within_a_minute_one_waits() -> None:
    attempts = Attempts()
    for second in range(MOST):
        assert attempts.wait("192.0.2.1", float(second)) == 0
        attempts.failed("192.0.2.1", float(second))
    assert attempts.wait("192.0.2.1", 4.0) == 56.0, "until the first of them is a minute old"
    assert attempts.wait("192.0.2.2", 4.0) == 0
    assert attempts.wait("192.0.2.1", WITHIN) == 0
    attempts.failed("192.0.2.1", WITHIN)
    assert attempts.wait("192.0.2.1", WITHIN) == 1.0


def test_neighbours_of_one_network_share_their_tries() -> None:
    attempts = Attempts()
    for number in range(MOST):
        attempts.failed(f"2001:db8::{number}", 0.0)
    assert attempts.wait("2001:db8::ffff", 1.0) == 59.0
    assert attempts.wait("2001:db8:0:1::1", 1.0) == 0


def test_so_many_are_remembered_and_no_more() -> None:
    attempts = Attempts()
    for _ in range(MOST):
        attempts.failed("first", 0.0)
        attempts.failed("second", 0.0)
    attempts.failed("first", 0.0)
    for number in range(MOST_PEERS - 1):
        attempts.failed(str(number), 0.0)
    assert attempts.wait("first", 0.0) > 0
    assert attempts.wait("second", 0.0) == 0
    assert len(attempts._failed) == MOST_PEERS
