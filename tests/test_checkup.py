"""An upstream asked over real sockets whether it is usable: what goes out, and what may stand in the way."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from email.utils import formatdate

import pytest

from gateway.checkup import BYTES, Checked, check
from gateway.upstreams.base import Upstream
from tests.relay.certificates import Authority
from tests.relay.line import Line
from tests.relay.machine import sockets, until
from tests.relay.origin import origin, serves
from tests.running import upstream
from tests.stub import Answer, failed, stub

NOW = 1_792_584_000.0
LIST = {"data": [{"id": name} for name in ("whisper-1", "gpt-4o-transcribe", "tts-1")]}


@pytest.fixture(autouse=True)
async def clean() -> AsyncIterator[None]:
    """No socket is left behind."""
    before = sockets()
    yield
    await until(lambda: sockets() <= before, lambda: f"{sockets() - before} sockets")


def clock() -> float:
    return NOW


def listing(**more: object) -> Answer:
    headers = {"date": formatdate(NOW, usegmt=True)}
    return Answer(pieces=(json.dumps(LIST).encode(),), headers=headers, **more)  # type: ignore[arg-type]


async def checked(one: Upstream) -> Checked:
    found = await check(one, clock=clock)
    assert "sk-secret" not in found.message
    return found


def ids(found: Checked) -> tuple[bool, str]:
    return found.ok, found.verdict


async def test_the_list_of_models_is_asked_for_with_our_key() -> None:
    async with stub() as one:
        one.answers = [listing()]
        found = await checked(upstream("a", one.url))
    assert (ids(found), found.message) == ((True, "fine"), "")
    assert found.ms is not None
    assert found.connect_ms is not None
    assert 0 <= found.connect_ms <= found.ms < 10_000
    (seen,) = one.seen
    assert (seen.method, seen.target) == ("GET", "/v1/models")
    assert seen.headers["authorization"] == "Bearer sk-secret-of-a"
    assert (seen.headers["user-agent"], seen.headers["accept-encoding"]) == ("audiogate", "identity")


async def test_without_a_key_none_is_sent() -> None:
    async with stub() as one:
        one.answers = [listing()]
        assert (await checked(upstream("a", one.url, key=None))).ok
    assert "authorization" not in one.seen[0].headers


async def test_a_redirect_is_told_and_never_followed() -> None:
    async with stub() as one, stub() as two:
        there = f"{two.url}/models"
        one.answers = [Answer(status=308, headers={"location": there}, pieces=())]
        found = await checked(upstream("a", one.url))
        assert two.seen == []
    assert ids(found) == (False, "moved")
    assert there in found.message


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (failed(401, "no such key"), (False, "key")),
        (failed(404, "Invalid URL"), (True, "unchecked")),
        (failed(503, "away"), (False, "failing")),
        (Answer(content_type="text/html", pieces=(b"<html></html>",)), (False, "page")),
        (Answer(headers={"date": formatdate(NOW + 90, usegmt=True)}, pieces=(b"{}",)), (True, "clock")),
        (Answer(refuse=True), (False, "broken")),
        (Answer(raw=True, pieces=(b"SSH-2.0-x\r\n\r\n",)), (False, "broken")),
        (Answer(pieces=(b'{"data":',), headers={"content-length": "99"}, cut=True), (False, "broken")),
    ],
)
async def test_what_comes_back_tells(answer: Answer, expected: tuple[bool, str]) -> None:
    async with stub() as one:
        one.answers = [answer]
        assert ids(await checked(upstream("a", one.url))) == expected


@pytest.mark.parametrize(("more", "verdict"), [(0, "models"), (1, "fine")])
async def test_a_list_is_read_up_to_its_bound(more: int, verdict: str) -> None:
    text = b'{"data":[{"id":"x"}]}'
    async with stub() as one:
        one.answers = [Answer(pieces=(text, b" " * (BYTES - len(text) + more)))]
        assert ids(await checked(upstream("a", one.url))) == (True, verdict)


async def test_a_closed_port_refuses() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        found = await checked(upstream("a", f"http://{host}/v1"))
    assert ids(found) == (False, "refused")
    assert found.message.startswith(f"{host} refuses the connection: check the port in upstreams.a.base_url")
    assert (found.ms, found.connect_ms) == (None, None)


async def test_a_name_that_nobody_knows_has_no_address() -> None:
    found = await checked(upstream("a", "http://nowhere.invalid/v1"))
    assert ids(found) == (False, "no_name")
    assert "nowhere.invalid has no address" in found.message


async def test_a_private_address_is_not_dialled_unless_that_is_meant() -> None:
    async with stub() as one:
        found = await checked(upstream("a", one.url, allow_private=False))
        assert one.seen == []
    assert ids(found) == (False, "not_allowed")
    assert "set upstreams.a.allow_private: true" in found.message


async def test_an_address_without_a_way_there_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_way(*_: object, **__: object) -> object:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", no_way)
    found = await checked(upstream("a", "http://127.0.0.1:9/v1"))
    assert ids(found) == (False, "unreachable")
    assert "Network is unreachable" in found.message


async def test_a_key_that_no_header_can_carry_is_told() -> None:
    found = await checked(upstream("a", "http://127.0.0.1:9/v1", key="schlüssel"))
    assert ids(found) == (False, "bad_key")
    assert "schlüssel" not in found.message


async def test_who_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.dialling.SECONDS", 0.2)
    async with stub() as one:
        one.answers = [Answer(hold=asyncio.Event())]
        found = await checked(upstream("a", one.url))
    assert ids(found) == (False, "late")
    assert "did not answer within 0.2 seconds" in found.message
    assert found.ms is None
    assert found.connect_ms is not None


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def tls_checked(context: ssl.SSLContext) -> Checked:
    body = json.dumps(LIST).encode()
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    async with origin(serves(answer), tls=context) as one:
        return await checked(upstream("a", f"{one.url}/v1"))


async def test_a_certificate_of_an_authority_of_ours_is_believed(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    assert ids(await tls_checked(authority.server())) == (True, "fine")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"own": True}, "self"),
        ({"ends": "210101000000Z"}, "expired"),
        ({"name": "DNS:other.example"}, "127.0.0.1"),
    ],
)
async def test_a_certificate_that_proves_nothing_is_not_trusted(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, facts: dict[str, object], words: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    found = await tls_checked(authority.server(**facts))  # type: ignore[arg-type]
    assert ids(found) == (False, "untrusted")
    assert words in found.message


async def test_https_where_none_is_spoken_is_broken() -> None:
    async def script(line: Line) -> None:
        await line.has(1)
        await line.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with origin(script) as one:
        found = await checked(upstream("a", f"https://127.0.0.1:{one.port}/v1"))
    assert ids(found) == (False, "broken")
    assert "check scheme and port in upstreams.a.base_url" in found.message


async def test_a_handshake_that_is_never_answered_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.dialling.SECONDS", 0.4)

    async def script(line: Line) -> None:
        await line.lost.wait()

    async with origin(script) as one:
        assert ids(await checked(upstream("a", f"https://127.0.0.1:{one.port}/v1"))) == (False, "late")
        await (await one.line(0)).lost.wait()  # its socket was closed, without waiting for the collector
