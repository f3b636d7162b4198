"""Who showed too many wrong tokens waits, and nobody else does."""

from gateway.policy.throttle import MOST, MOST_PEERS, WITHIN, Throttle


def test_after_five_wrong_ones_within_a_minute_one_waits() -> None:
    throttle = Throttle()
    for second in range(MOST):
        assert throttle.wait("192.0.2.1", float(second)) == 0
        throttle.failed("192.0.2.1", float(second))
    assert throttle.wait("192.0.2.1", 4.0) == 56.0, "until the first of them is a minute old"
    assert throttle.wait("192.0.2.2", 4.0) == 0
    assert throttle.wait("192.0.2.1", WITHIN) == 0
    throttle.failed("192.0.2.1", WITHIN)
    assert throttle.wait("192.0.2.1", WITHIN) == 1.0


def test_neighbours_of_one_network_share_their_tries() -> None:
    throttle = Throttle()
    for number in range(MOST):
        throttle.failed(f"2001:db8::{number}", 0.0)
    assert throttle.wait("2001:db8::ffff", 1.0) == 59.0
    assert throttle.wait("2001:db8:0:1::1", 1.0) == 0


def test_so_many_are_remembered_and_no_more() -> None:
    throttle = Throttle()
    for _ in range(MOST):
        throttle.failed("first", 0.0)
        throttle.failed("second", 0.0)
    throttle.failed("first", 0.0)
    for number in range(MOST_PEERS - 1):
        throttle.failed(str(number), 0.0)
    assert throttle.wait("first", 0.0) > 0
    assert throttle.wait("second", 0.0) == 0
    assert len(throttle._failed) == MOST_PEERS
