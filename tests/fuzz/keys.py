"""Who calls: Authorization headers and X-Forwarded-For, a line each."""

from collections.abc import Callable
from typing import TypeVar

from gateway.errors import Refused
from gateway.policy.keys import Caller, check_admin, mint, networks, parse, read_key, shown
from gateway.web import peers
from tests.fuzz.common import in_time, stretched

Found = TypeVar("Found")

RUNS = 5_000
KEY = mint(bytes(range(33)))
TOKEN = "the-operators-token"
CALLER = Caller("k", "n", "t", "d", ips=networks(["10.0.0.0/8", "2001:db8::/32"]))
TRUSTED = networks(["127.0.0.1", "10.0.0.0/8", "::1", "fe80::/10"])
SEEDS = [
    b"Bearer " + KEY.encode(),
    b"bearer  " + KEY.encode() + b" \nBearer x\n10.0.0.1, 192.0.2.7:443",
    b"Bearer the-operators-token\n2001:db8::1",
    b"Basic YTpi\n[2001:db8::1]:80, ::ffff:10.0.0.1",
    b"Bearer sk-proj-0123456789abcdef\nunknown, _hidden, 127.0.0.1",
    b"Bearer\t" + KEY.encode()[:-1] + b"x",
]
WORDS = [
    b"Bearer ", b"bearer ", b"ag_", b"_", b" ", b"\t", b",", b", ", b":", b"[", b"]",
    b"::1", b"127.0.0.1", b"::ffff:", b"%eth0",
    b"10.0.0.1", b"/8", b"\xa0", b"\xff", b"\x85", b"\n", KEY.encode(), TOKEN.encode(), KEY.encode()[3:14], b"0x7f.1",
]  # fmt: skip


def target(data: bytes) -> None:
    """The first lines are Authorization headers, the last one is X-Forwarded-For."""
    lines = data.decode("latin-1").split("\n")
    in_time(lambda: asked(lines), len(data))
    if large := stretched(data):
        in_time(lambda: asked(large.decode("latin-1").split("\n")), len(large))


def asked(lines: list[str]) -> None:
    """One request with these headers."""
    *authorization, forwarded = lines
    found = answered(lambda: read_key(authorization))
    if isinstance(found, Refused):
        assert found.row.status == 401
        assert len(found.message) < 500
        for line in authorization:
            secret = line.partition(" ")[2].strip()
            assert len(secret) < 25 or secret not in found.message
    else:
        (line,) = authorization
        assert found.text in line
        assert parse(found.text) == found
        assert found.text[14:-4] not in shown(found.text)
    entered = answered(lambda: check_admin(authorization, TOKEN))
    if isinstance(entered, Refused):
        assert entered.name == "bad_admin_token"
    else:
        (line,) = authorization
        assert [word.lower() for word in line.split()[:1]] == ["bearer"]
        assert line.split()[1:] == [TOKEN]
    CALLER.may_call_from(peers.caller("10.0.0.1", [forwarded], TRUSTED))


def answered(ask: Callable[[], Found]) -> Found | Refused:
    """What comes of it, or the refusal."""
    try:
        return ask()
    except Refused as refusal:
        return refusal
