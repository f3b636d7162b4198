"""What may stand in a head, and whose word on addresses is taken."""

import pytest

from gateway.policy.keys import networks
from gateway.web import head, peers

NEAR = networks(("10.0.0.0/8", "127.0.0.1", "2001:db8::/32"))


@pytest.mark.parametrize(
    "host",
    [
        "a",
        "a.b:80",
        "gateway_1:8080",
        "127.0.0.1",
        "127.0.0.1:1",
        "[::1]",
        "[2001:db8::1]:443",
        "xn--bcher-kva.example",
    ],
)
def test_hosts_that_may_be(host: str) -> None:
    assert wrong({b"host": host.encode()}) == ""


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":80",
        "a:",
        "a:b",
        "a:123456",
        "a b",
        "a/b",
        "a?b",
        "a@b",
        "a,b",
        "[::1",
        "::1",
        "a%2eb",
        "a\\b",
        "é",
        "a" * 300,
    ],
)
def test_hosts_that_may_not_be(host: str) -> None:
    assert "Host" in wrong({b"host": host.encode()})


def wrong(fields: dict[bytes, bytes], version: str = "1.1", *, upgrade: bool = False) -> str:
    """What is said to be wrong, "" for nothing."""
    found = head.wrong_fields(version, [*fields.items()], fields, upgrade=upgrade)
    return "" if found is None else found.message


def test_what_else_may_be_wrong_with_fields() -> None:
    good = {b"host": b"x", b"accept": b"*/*"}
    assert wrong(good) == wrong({**good, b"transfer-encoding": b"Chunked"}) == wrong({}, "1.0") == ""
    assert "no Host" in wrong({})
    assert "chunked" in wrong({**good, b"transfer-encoding": b"chunked"}, "1.0")
    assert "chunked" in wrong({**good, b"transfer-encoding": b"gzip, chunked"})
    assert "another protocol" in wrong(good, upgrade=True)
    twice = [(b"host", b"x"), (b"accept", b"a"), (b"accept", b"b")]
    assert head.wrong_fields("1.1", twice, dict(twice), upgrade=False) is None
    for name in (b"host", b"transfer-encoding"):
        fields = [(b"host", b"x"), (name, b"chunked"), (name, b"chunked")]
        found = head.wrong_fields("1.1", fields, dict(fields), upgrade=False)
        assert found is not None
        assert "two" in found.message


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/readyz", "/v1/models", "/v1/models/", "/v1/models/org/model:free", "/v1/models/org%2Fmodel"),
        *("/admin/keys/%E4%BC%9A%E8%AE%AE", "/admin/keys/a%20b", "/a;b=c,d/~e!$&'()*+@", "/..."),
    ],
)
def test_paths_in_their_normal_form(path: str) -> None:
    assert head.wrong_path(path) is None


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "v1",
            "//",
            "//admin",
            "/admin//keys",
            "/admin/.",
            "/admin/..",
            "/./admin",
            "/a/../admin",
            "/admin\\keys",
        ),
        *(
            "/%61dmin",
            "/%2e%2e/admin",
            "/%2E/admin",
            "/admin%2fkeys",
            "/admin%5Ckeys",
            "/admin%00",
            "/admin%0d%0aX",
            "/%7F",
        ),
        *(
            "/admin%",
            "/admin%2",
            "/admin%zz",
            "/admin%252e",
            "/ad min",
            "/admin?x",
            "/admin#x",
            "/admín",
            '/"',
            "/<",
            "/{a}",
        ),
        *("/v1/models/..%2fadmin", "/v1/models%2f..", "/v1/models/a%2F%2Fb", "/v1/models/%2e%2e"),
    ],
)
def test_paths_that_could_be_read_in_two_ways(path: str) -> None:
    found = head.wrong_path(path)
    assert found is not None
    assert found.row.status == 400


@pytest.mark.parametrize(
    ("method", "version", "url"),
    [
        *((b"GET", "0.9", b"/"), (b"GET", "2.0", b"/"), (b"CONNECT", "1.1", b"x:443"), (b"CONNECT", "1.1", b"/")),
        *((b"OPTIONS", "1.1", b"*"), (b"GET", "1.1", b"http://x/"), (b"GET", "1.1", b"/a#b"), (b"GET", "1.1", b"")),
    ],
)
def test_first_lines_that_are_none(method: bytes, version: str, url: bytes) -> None:
    assert head.wrong_line(method, version, url) is not None
    assert head.wrong_line(b"GET", "1.1", b"/") is None


def test_who_waits_to_be_asked() -> None:
    assert head.expects("1.1", {b"expect": b"100-Continue"})
    assert not head.expects("1.0", {b"expect": b"100-continue"})
    assert not head.expects("1.1", {b"expect": b"much"})
    assert not head.expects("1.1", {})


@pytest.mark.parametrize(
    ("peer", "told", "caller"),
    [
        ("192.0.2.1", ["203.0.113.9"], "192.0.2.1"),  # nobody we know says so
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),  # what stands left of it is his own word
        ("10.0.0.1", ["198.51.100.1", "203.0.113.9, 10.9.9.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, 10.0.0.3", "10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("2001:db8::1", ["[2001:db9::9]:4711"], "2001:db9::9"),
        ("2001:db8::1", ["2001:DB9::9"], "2001:db9::9"),
        ("::ffff:10.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("::ffff:127.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("", ["203.0.113.9"], ""),
    ],
)
def test_the_caller_is_the_first_from_the_right_who_is_not_trusted(peer: str, told: list[str], caller: str) -> None:
    assert peers.caller(peer, told, NEAR) == caller
    assert peers.caller(peer, told, ()) == peer


def test_a_chain_of_proxies_is_believed_up_to_a_point() -> None:
    near = "10.0.0.1"
    for hops, found in ((peers.MOST_HOPS - 1, "203.0.113.9"), (peers.MOST_HOPS, near)):
        assert peers.caller(near, ["203.0.113.9" + f", {near}" * hops], NEAR) == found
