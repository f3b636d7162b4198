"""Encrypted upstreams: nobody is believed without a good certificate, and nothing goes out in the clear instead."""

import asyncio
import hashlib
import os
import socket
import ssl

import pytest

from gateway.client import BrokenOff, Unreachable
from tests.corpus.replies import CHUNKED, FIVE, GOOD, head, reply
from tests.relay.certificates import Authority
from tests.relay.line import Line
from tests.relay.origin import in_turn, origin, serves
from tests.relay.relaying import Bodies, Resolve, ask, opened, relaying

SECRET = {"authorization": "Bearer sk-secret"}
BAD = {
    "that has expired": {"ends": "210101000000Z"},
    "of another address": {"name": "IP:127.0.0.2"},
    "of a name": {"name": "DNS:upstream.test"},
    "signed by itself": {"own": True},
}


@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_certificate_is_not_believed(bad: str, authority: Authority, trusting: ssl.SSLContext) -> None:
    async with origin(serves(), tls=authority.server(**BAD[bad])) as one, relaying(trusting) as client:  # type: ignore[arg-type]
        bodies = Bodies(b"secret")
        for body in (None, bodies):
            with pytest.raises(Unreachable):
                await ask(client, one.url, body=body, headers=SECRET)
        assert not one.seen
        assert not any(line.raw for line in one.lines)
        assert not any(body.taken for body in bodies.made)


async def test_a_stranger_is_not_believed_unless_somebody_says_so(authority: Authority) -> None:
    """The system's authorities are asked by default: this one is none of them."""
    async with origin(serves(), tls=authority.server()) as one, relaying(None) as client:
        with pytest.raises(Unreachable):
            await ask(client, one.url, headers=SECRET)
        assert not one.seen


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x28"])
async def test_nothing_goes_out_in_the_clear(data: bytes) -> None:
    async def script(line: Line) -> None:
        await line.has(1)
        await line.say(data)
        line.finish()

    async with origin(script) as one, relaying() as client:
        with pytest.raises(Unreachable):
            await ask(client, one.url.replace("http", "https"), headers=SECRET, body=Bodies(b"secret"))
        for line in one.lines:
            assert line.raw[:2] == b"\x16\x03", "a greeting of TLS"
            assert b"secret" not in line.raw


async def test_a_handshake_has_the_time_of_a_connection() -> None:
    async def script(line: Line) -> None:
        await line.over()

    async with origin(script) as one, relaying() as client:
        async with asyncio.timeout(2):
            with pytest.raises(Unreachable):
                await ask(client, one.url.replace("http", "https"), connect=0.1)
        assert await one.lines[0].over() in ("closed", "reset")


async def test_old_versions_are_not_spoken(authority: Authority, trusting: ssl.SSLContext) -> None:
    context = authority.server()
    with pytest.warns(DeprecationWarning, match=r"TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with origin(serves(), tls=context) as one, relaying(trusting) as client:
        with pytest.raises(Unreachable):
            await ask(client, one.url)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_trusted_upstream_is_kept_and_large_bodies_come_whole(
    version: ssl.TLSVersion, authority: Authority, trusting: ssl.SSLContext
) -> None:
    pieces = [bytes([number]) * 100_000 for number in range(50)]
    whole = b"".join(pieces)
    context = authority.server()
    context.maximum_version = version
    async with origin(serves(reply(whole)), tls=context) as one, relaying(trusting) as client:
        for length in (None, len(whole)):
            answer = await ask(client, one.url, body=Bodies(*pieces), length=length)
            digests = {hashlib.sha256(data).hexdigest() for data in (answer.body, one.whole[-1].body, whole)}
            assert len(digests) == 1
        assert len(one.lines) == 1


async def test_it_says_whom_it_wants_to_speak_to(
    authority: Authority, trusting: ssl.SSLContext, resolve: Resolve
) -> None:
    asked: list[str | None] = []
    context = authority.server("DNS:upstream.test")
    context.sni_callback = lambda _, name, __: asked.append(name)
    async with origin(serves(), tls=context) as one, relaying(trusting) as client:
        resolve(("127.0.0.1", one.port))
        assert (await ask(client, f"https://upstream.test:{one.port}")).body == b"good"
        with pytest.raises(Unreachable):
            await ask(client, f"https://other.test:{one.port}")
        assert asked == ["upstream.test", "other.test"]
        assert one.whole[0].all("host") == [f"upstream.test:{one.port}"]
        assert len(one.seen) == 1


async def test_plain_and_encrypted_connections_are_not_mixed(authority: Authority, trusting: ssl.SSLContext) -> None:
    async with origin(serves(), tls=authority.server()) as one, relaying(trusting) as client:
        assert (await ask(client, one.url)).body == b"good"
        with pytest.raises(Unreachable):
            await ask(client, one.url.replace("https", "http"), headers=SECRET)
        assert len(one.seen) == 1


def cut_off(line: Line) -> None:
    """End the line below TLS, without the word of farewell."""
    line.ended = line.ended or "ours"
    with socket.socket(fileno=os.dup(line.transport.get_extra_info("socket").fileno())) as sock:
        sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("data", [head(FIVE) + b"hell", head(CHUNKED) + b"5\r\nhello\r\n", head(CHUNKED) + b"5\r\nhe"])
@pytest.mark.parametrize("polite", [True, False])
async def test_a_body_that_ends_too_soon_is_broken_off(
    data: bytes, polite: bool, authority: Authority, trusting: ssl.SSLContext
) -> None:
    go_on = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.say(data)
        await go_on.wait()
        if polite:
            line.finish()
        else:
            cut_off(line)

    async with origin(in_turn(script, serves()), tls=authority.server()) as one, relaying(trusting) as client:
        exchange = await opened(client, one.url)
        assert await exchange.peek(1)
        go_on.set()
        with pytest.raises(BrokenOff):
            await exchange.start(1000)
        exchange.close()
        assert (await ask(client, one.url)).body == b"good"


async def test_a_body_until_the_end_comes_whole_when_the_end_is_said(
    authority: Authority, trusting: ssl.SSLContext
) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(head() + b"hello")
        line.finish()

    async with origin(script, tls=authority.server()) as one, relaying(trusting) as client:
        assert (await ask(client, one.url)).body == b"hello"


async def test_a_body_until_the_end_is_broken_off_when_the_end_is_not_said(
    authority: Authority, trusting: ssl.SSLContext
) -> None:
    """Anybody on the way can cut a connection; only the upstream can say its farewell."""
    go_on = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.say(head() + b"hello")
        await go_on.wait()
        cut_off(line)

    async with origin(script, tls=authority.server()) as one, relaying(trusting) as client:
        exchange = await opened(client, one.url)
        assert await exchange.peek(5) == b"hello"
        go_on.set()
        with pytest.raises(BrokenOff):
            await exchange.start(1000)
        exchange.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_is_taken_up_again(
    version: ssl.TLSVersion, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))  # as if the system knew the authority
    context = authority.server()
    context.maximum_version = version
    again: list[bool] = []

    async def script(line: Line) -> None:
        again.append(line.transport.get_extra_info("ssl_object").session_reused)
        await line.request()
        await line.say(GOOD)
        await line.request()
        await line.say(reply(b"good", b"Connection: close"))

    async with origin(script, tls=context) as one, relaying(None) as client:
        for _ in range(6):
            assert (await ask(client, one.url)).body == b"good"
        assert again == [False, True, True]
        async with relaying(None) as other:
            await ask(other, one.url)
        assert again == [False, True, True, False]


@pytest.mark.parametrize("end", ["finish", "reset"])
async def test_a_kept_connection_that_is_closed_just_as_we_send_is_replaced(
    end: str, authority: Authority, trusting: ssl.SSLContext
) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(GOOD)
        await line.request()
        getattr(line, end)()

    bodies = Bodies(b"a" * 50_000, b"b" * 50_000)
    async with origin(script, tls=authority.server()) as one, relaying(trusting) as client:
        for _ in range(20):
            assert (await ask(client, one.url, body=bodies)).body == b"good"
        assert (len(one.lines), len(one.seen), len(bodies.made)) == (20, 39, 39)
