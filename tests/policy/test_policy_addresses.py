"""Which addresses an upstream may have, and which hosts are addresses in disguise."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.addresses import Reach, fault, literal, loopback, neighbourhood, reach

PUBLIC, PRIVATE, FORBIDDEN = Reach
MEANT: dict[Reach, list[str]] = {
    PUBLIC: [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",  # what a resolver answers in a network of IPv6 alone
        "2002:808:808::1",
    ],
    PRIVATE: [
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "240.0.0.1",
        "255.255.255.254",
        "::1",
        "100::1",
        "fc00::1",
        "fdff::1",
        "fec0::1",
        "2001::1",
        "2001:db8::1",
        "3fff::1",
        "5f00::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:0:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "2002:a00:1::1",
        "2a00::200:5efe:127.0.0.1",
    ],
    FORBIDDEN: [
        "0.0.0.0",
        "0.1.2.3",
        "169.254.0.0",
        "169.254.169.254",
        "169.254.255.255",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "224.0.0.1",
        "239.255.255.255",
        "255.255.255.255",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "febf::1",
        "ff02::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fd00:42::42",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "::ffff:0:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "2001:0:808:808::5601:5601",  # Teredo: 169.254.169.254 with its bits turned round
        "2a00::5efe:169.254.169.254",
        "",
        "no address",
    ],
}


@pytest.mark.parametrize(("text", "where"), [(text, where) for where, texts in MEANT.items() for text in texts])
def test_where_an_address_leads(text: str, where: Reach) -> None:
    assert reach(text) is where
    assert bool(fault(text, allow_private=False)) == (where is not PUBLIC)
    assert bool(fault(text, allow_private=True)) == (where is FORBIDDEN)


def test_the_remedy_is_told_where_there_is_one() -> None:
    assert "`allow_private: true`" in fault("10.0.0.1", allow_private=False)
    assert "allow_private" not in fault("169.254.169.254", allow_private=False)


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_ipv4_address_inside_another_is_never_better_than_by_itself(inner: IPv4Address) -> None:
    number, own = int(inner), reach(str(inner))
    for prefix in ("::ffff:0:0", "64:ff9b::"):
        assert reach(str(IPv6Address(int(IPv6Address(prefix)) | number))) is own
    assert reach(str(IPv6Address(0x2002 << 112 | number << 80))) is own
    for prefix in ("::ffff:0:0:0", "64:ff9b:1::", "2a00::5efe:0:0"):
        assert reach(str(IPv6Address(int(IPv6Address(prefix)) | number))) >= own
    assert reach(str(IPv6Address(0x20010000 << 96 | number ^ 0xFFFFFFFF))) >= max(own, PRIVATE)


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_what_the_standard_library_knows_to_be_private_is_not_public(address: IPv4Address) -> None:
    if reach(str(address)) is PUBLIC:
        assert not any((address.is_private, address.is_loopback, address.is_link_local, address.is_multicast))


HOSTS = {
    "127.0.0.1": "127.0.0.1",
    "127.0.0.1.": "127.0.0.1",
    "::1": "::1",
    "fe80::1%eth0": "fe80::1",
    "0x7f.1": "127.0.0.1",
    "0X7F000001": "127.0.0.1",
    "0x": "0.0.0.0",
    "2130706433": "127.0.0.1",
    "017700000001": "127.0.0.1",
    "0177.0.0.1": "127.0.0.1",
    "127.1": "127.0.0.1",
    "1.65535": "1.0.255.255",
    "1.2.65535": "1.2.255.255",
    "0": "0.0.0.0",
    "localhost": "127.0.0.1",
    "LocalHost.": "127.0.0.1",
    "a.localhost": "127.0.0.1",
    "localhost.localdomain": "127.0.0.1",
    "ip6-loopback": "127.0.0.1",
    "": "",
    ".": "",
    "example.com": "",
    "notlocalhost": "",
    "localhost.example.com": "",
    "1.2.3.4.5": "",
    "1.2.3.256": "",
    "256.1": "",
    "1.16777216": "",
    "1.2.65536": "",
    "4294967296": "",
    "09": "",
    "1.2.3.x": "",
    "1..2": "",
    "9" * 5000: "",
}


@pytest.mark.parametrize(("host", "address"), HOSTS.items(), ids=[host[:40] for host in HOSTS])
def test_a_host_that_is_no_name_is_found_out(host: str, address: str) -> None:
    assert literal(host) == address


PART = st.one_of(
    st.integers(0, 300).map(str), st.integers(0, 2**33).map(hex), st.integers(0, 2**33).map(lambda n: f"0{n:o}")
)


@given(st.lists(PART, min_size=1, max_size=5).map(".".join))
def test_numbers_are_read_as_c_reads_them(host: str) -> None:
    try:
        meant = socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        meant = ""
    assert literal(host) == meant


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_none(host: str) -> None:
    found = literal(host)
    assert not found or ip_address(found)


def test_only_this_machine_is_this_machine() -> None:
    here = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
    assert all(map(loopback, here))
    assert not any(map(loopback, ["", "localhost", "0.0.0.0", "10.0.0.1", "::", "::ffff:10.0.0.1", "fe80::1", "::2"]))


def test_neighbours_count_as_one() -> None:
    assert neighbourhood("192.0.2.1") == "192.0.2.1"
    assert neighbourhood("::ffff:192.0.2.1") == "192.0.2.1"
    assert neighbourhood("2001:db8:1:2:3::4") == neighbourhood("2001:db8:1:2:ffff::9%eth0") == "2001:db8:1:2::/64"
    assert neighbourhood("2001:db8:1:3::4") == "2001:db8:1:3::/64"
    assert neighbourhood("") == ""
