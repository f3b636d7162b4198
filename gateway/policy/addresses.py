"""Which addresses an upstream may have, so that nobody is led into the networks around us. Pure.

A PUBLIC one may be dialled; a PRIVATE one (of this machine, of a private network, reserved) where the upstream has
`allow_private: true`; one that is FORBIDDEN never: the cloud's own services answer there with its credentials. What
carries an IPv4 address inside is as bad as that. The tables are IANA's, written out, as the standard library's
differ between versions.
"""

import re
from collections.abc import Sequence
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Reach(IntEnum):
    """Where an address leads, the worse the greater."""

    PUBLIC = 0
    PRIVATE = 1
    FORBIDDEN = 2


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


_FORBIDDEN = _networks(
    "0.0.0.0/8",  # unspecified: this machine, for most systems
    "169.254.0.0/16",  # link-local, and most clouds' metadata
    "224.0.0.0/4",  # multicast
    "255.255.255.255/32",
    "100.100.100.200/32",  # metadata at Alibaba
    "168.63.129.16/32",  # what Azure's machines ask
    "192.0.0.192/32",  # metadata at Oracle
    "::/128",
    "fe80::/10",
    "ff00::/8",
    "fd00:ec2::/32",  # metadata at Amazon
    "fd20:ce::254/128",  # at Google
    "fd00:42::42/128",  # at Scaleway
)
_PRIVATE = _networks(
    "10.0.0.0/8",
    "100.64.0.0/10",  # carriers' networks, and overlays
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",  # for examples, as the next two
    "198.51.100.0/24",
    "203.0.113.0/24",
    "192.88.99.0/24",  # 6to4's relays
    "192.168.0.0/16",
    "198.18.0.0/15",  # benchmarks
    "240.0.0.0/4",
    "2001::/23",  # protocols, Teredo among them
    "2001:db8::/32",  # for examples, as the next
    "3fff::/20",
)
LOOPBACK = _networks("127.0.0.0/8", "::1/128")
_GLOBAL = IPv6Network("2000::/3")  # nothing else of IPv6 has been given out to the public
# Networks whose addresses carry an IPv4 address: how many bits follow it. Those of the first row mean just that one.
_MEAN = (
    (IPv6Network("::ffff:0:0/96"), 0),  # mapped: what a socket for both families is told
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("2002::/16"), 80),  # 6to4
)
_HOLD = (
    (IPv6Network("::/96"), 0),  # "compatible"
    (IPv6Network("::ffff:0:0:0/96"), 0),  # translated
    (IPv6Network("64:ff9b:1::/48"), 0),  # NAT64 of somebody's own
)
_TEREDO = IPv6Network("2001::/32")  # its last 32 bits are a client's address with every bit turned round
_ISATAP = re.compile("[0-9a-f]{4}:[0-9a-f]{4}:[0-9a-f]{4}:[0-9a-f]{4}:0[02]00:5efe:[0-9a-f]{4}:[0-9a-f]{4}")
_LOCAL = re.compile(r"(.*\.)?localhost\.?|ip6-(localhost|loopback)|localhost[46]?\.localdomain[46]?")
_NUMBER = re.compile("0[xX][0-9a-fA-F]*|[0-9]+")


def reach(text: str) -> Reach:
    """Where an address leads, as a resolver gives it (a zone, `%eth0`, may follow). What is none is FORBIDDEN."""
    try:
        return _reach(ip_address(text.partition("%")[0]))
    except ValueError:
        return Reach.FORBIDDEN


def fault(text: str, *, allow_private: bool) -> str:
    """Why an upstream must not have this address, with the remedy if there is one; "" if it may."""
    found = reach(text)
    if found is Reach.PRIVATE and not allow_private:
        return (
            "one of this machine or of a private network; write `allow_private: true` for the upstream if you mean it"
        )
    if found is Reach.FORBIDDEN:
        return "link-local, multicast, unspecified or a cloud's own: no upstream may have it"
    return ""


def literal(host: str) -> str:
    """The address that is meant by a host which is no name, "" for a name.

    Resolvers take IPv4 addresses in other forms, too: fewer than four numbers, in base 8 or 16.
    """
    if _LOCAL.fullmatch(host.lower()):
        return "127.0.0.1"
    try:
        return str(ip_address(host.partition("%")[0]))
    except ValueError:
        return _loose(host.removesuffix(".").split("."))


def loopback(text: str) -> bool:
    """Whether an address is this machine's own, which nobody else can reach or come from; a name is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in LOOPBACK)


def neighbourhood(peer: str) -> str:
    """Who counts as one with the caller at this address: IPv6 gives everybody 2^64 of them."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, IPv4Address):
        return peer
    mapped = address.ipv4_mapped
    return str(mapped) if mapped is not None else str(IPv6Network((int(address) >> 64 << 64, 64)))


def _reach(address: Address) -> Reach:
    if any(address in network for network in _FORBIDDEN):
        return Reach.FORBIDDEN
    if any(address in network for network in LOOPBACK):
        return Reach.PRIVATE
    if isinstance(address, IPv4Address):
        return _listed(address)
    for network, behind in _MEAN:
        if address in network:
            return _reach(_inner(address, behind))
    held = [_inner(address, behind) for network, behind in _HOLD if address in network]
    if address in _TEREDO:
        held.append(IPv4Address(int(_inner(address, 0)) ^ 0xFFFFFFFF))
    if _ISATAP.fullmatch(address.exploded):
        held.append(_inner(address, 0))
    own = _listed(address) if address in _GLOBAL else Reach.PRIVATE
    return max([own, *(_reach(one) for one in held)])


def _listed(address: Address) -> Reach:
    return Reach.PRIVATE if any(address in network for network in _PRIVATE) else Reach.PUBLIC


def _inner(address: IPv6Address, behind: int) -> IPv4Address:
    return IPv4Address(int(address) >> behind & 0xFFFFFFFF)


def _loose(parts: Sequence[str]) -> str:
    """The address that C's inet_aton makes of these: the last part fills all bytes that are left."""
    if len(parts) > 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        return ""
    try:
        *first, last = [_number(part) for part in parts]
    except ValueError:
        return ""
    room = 8 * (4 - len(first))
    if any(number > 255 for number in first) or last >= 1 << room:
        return ""
    high = sum(number << 24 - 8 * at for at, number in enumerate(first))
    return str(IPv4Address(high | last))


def _number(text: str) -> int:
    if text[:2].lower() == "0x":
        return int(text[2:] or "0", 16)
    return int(text, 8 if text.startswith("0") else 10)
