"""Who is at the other end: the address of a connection, or what proxies that we trust say of it. Pure."""

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

from gateway.policy.keys import Network

MOST_HOPS = 32  # that are believed: no chain of proxies is longer


def caller(peer: str, told: Sequence[str], trusted: Sequence[Network]) -> str:
    """The caller's address. `told`: the X-Forwarded-For headers of a request on a connection from `peer`.

    Each proxy adds whom it serves at the right end. So that is believed as long as who says it is in `trusted`, and
    the first who is not is the caller.
    """
    hops = [hop.strip() for hop in ",".join(told).rsplit(",", MOST_HOPS)[-MOST_HOPS:]]
    while hops and believed(peer, trusted):
        hop = _address(hops.pop())
        if not hop:
            break
        peer = hop
    return peer


def believed(peer: str, trusted: Sequence[Network]) -> bool:
    """Whether this address is in one of the networks."""
    if not trusted or not (plain := _address(peer)):
        return False
    address = ip_address(plain)
    return any(address in network for network in trusted)


def _address(text: str) -> str:
    """The address in "10.0.0.1", "10.0.0.1:443", "2001:db8::1" or "[2001:db8::1]:443"; "" if there is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
