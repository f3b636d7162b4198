"""The forms of a store URL."""

import pytest

from gateway.config.values import STORE_URL
from gateway.errors import SetupError
from gateway.store.target import Target, read

S, C = ("sentinel", "cluster")


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://h", Target("one", False, {"host": "h"})),
        (
            "rediss://u:p%40@h:7/2?ssl_ca_certs=/ca",
            Target(
                "one", True, {"username": "u", "password": "p@", "host": "h", "port": 7, "db": 2, "ssl_ca_certs": "/ca"}
            ),
        ),
        ("unix:///a/b?db=1", Target("one", False, {"path": "/a/b", "db": 1})),
        ("redis+sentinel://h/ours", Target(S, False, {"db": 0}, (("h", 26379),), service="ours")),
        (
            "redis+sentinel://u:p@h:1,[::1]:2,10.0.0.1/our%20s/3?sentinel_username=su&sentinel_password=sp&client_name=x",
            Target(
                S,
                False,
                {"username": "u", "password": "p", "db": 3, "client_name": "x"},
                (("h", 1), ("::1", 2), ("10.0.0.1", 26379)),
                service="our s",
                login={"username": "su", "password": "sp"},
            ),
        ),
        ("rediss+sentinel://:p@h/ours", Target(S, True, {"password": "p", "db": 0}, (("h", 26379),), service="ours")),
        ("redis+cluster://h", Target(C, False, {}, (("h", 6379),))),
        ("redis+cluster://h/0", Target(C, False, {}, (("h", 6379),))),
        (
            "rediss+cluster://u:p@a:1,b:2/?ssl_cert_reqs=none",
            Target(C, True, {"username": "u", "password": "p", "ssl_cert_reqs": "none"}, (("a", 1), ("b", 2))),
        ),
    ],
)
def test_a_url_says_where_and_as_whom(url: str, target: Target) -> None:
    assert STORE_URL.read(url) == url, "the file takes it, too"
    assert read(url) == target
    assert "p@" not in repr(read(url))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis+sentinel://h", "names no master; write redis"),
        ("redis+sentinel://h/?db=1", "names no master"),
        ("redis+cluster://h/1", "a cluster has none; leave it out"),
        ("redis+cluster://h?db=1", "a cluster has none"),
    ],
)
def test_what_is_missing_or_too_much_is_told(url: str, words: str) -> None:
    with pytest.raises(SetupError, match=words):
        read(url)
