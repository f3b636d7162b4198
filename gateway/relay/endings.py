"""How a peer ended a connection, as far as the system can tell."""

import asyncio
import os
import ssl
from contextlib import suppress


def said_goodbye(encryption: ssl.SSLObject | None) -> bool:
    """Whether it was the peer that ended it: with TLS anybody on the way could cut the line."""
    try:
        return encryption is None or encryption.read(1) == b""
    except ssl.SSLError:
        return False


def left_behind(transport: asyncio.Transport, size: int) -> bytes:
    """What the peer had said before it reset the connection, up to `size` bytes: nobody has read it yet."""
    data = b""
    with suppress(OSError):
        fd = transport.get_extra_info("socket").fileno()
        while len(data) < size and (more := os.read(fd, size)):
            data += more
    return data
