"""Request ids. Pure."""

DRAW_BYTES = 10


def began(rid: str) -> float:
    """When a request began, seconds since 1970: its id tells."""
    return int(rid.removeprefix("req_")[:12], 16) / 1000


def request_id(ms: int, draw: bytes) -> str:
    """`req_` and 32 hexadecimal digits: a UUID of version 7 (RFC 9562, section 5.7), so ids sort by time.

    `ms` is milliseconds since 1970, `draw` DRAW_BYTES random bytes.
    """
    assert len(draw) == DRAW_BYTES
    number = (ms << 80) | int.from_bytes(draw, "big")
    number = number & ~(0xF << 76) | (7 << 76)
    number = number & ~(0x3 << 62) | (2 << 62)
    return f"req_{number:032x}"
