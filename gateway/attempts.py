"""One attempt at one upstream: the request goes out from its first byte, and what comes back is judged."""

import asyncio

from gateway.client import BrokenOff, Exchange, Nonsense, TimedOut, Unreachable, Unreached, Untrusted
from gateway.entry import Entry
from gateway.parts import Parts
from gateway.policy import deadlines, routing
from gateway.policy.routing import Candidate
from gateway.policy.tracing import HEADER
from gateway.upload import Overlong, Sent, Unfit
from gateway.upstreams.base import Kind, Outcome, Upstream, Verdict
from gateway.upstreams.going import Outgoing, outgoing
from gateway.upstreams.judging import HIDDEN_ERROR, judge

ERROR_BODY = 64 * 1024
ERROR_START = 2048
ERROR_SECONDS = 5.0  # for what an error says beyond its status
SERVED = Outcome(Verdict.SERVED)
_VERDICTS = {
    TimedOut: Verdict.TIMEOUT,
    Nonsense: Verdict.FAILED,
    Untrusted: Verdict.UNTRUSTED,
    Unreached: Verdict.UNREACHABLE,
    Unreachable: Verdict.UNREACHABLE,
}


async def attempted(entry: Entry, candidate: Candidate, parts: Parts) -> Exchange | Outcome:
    """One attempt; whatever comes of it is remembered of that upstream."""
    upstream, model = candidate.upstream.name, candidate.model
    tried = entry.attempt(candidate, parts.clock())
    answer = await try_one(entry, candidate, parts)
    if isinstance(answer, Exchange):
        seconds, audio = tried.end(Verdict.SERVED, answer.status, parts.clock()), entry.request.seconds
        parts.metrics.attempted(upstream, Verdict.SERVED, seconds, took=answer.took, audio=audio)
        parts.health.note(upstream, model, SERVED, took=answer.took, audio=_audio(entry))
    else:
        parts.metrics.attempted(upstream, answer.verdict, tried.end(answer.verdict, answer.status, parts.clock()))
        parts.health.note(upstream, model, answer)
    return answer


async def try_one(entry: Entry, candidate: Candidate, parts: Parts) -> Exchange | Outcome:
    """One attempt: a follower of the upload from its first byte. An answer, or why there is none to relay."""
    call, upload, upstream = entry.call, entry.upload, candidate.upstream
    assert upload is not None
    sent: list[Sent] = []

    def body() -> Sent:
        sent.append(upload.sending(layout, check=lambda: routing.fits(upstream, upload.request)))
        return sent[-1]

    while True:
        if upload.layout(candidate.model).length is None and not upstream.can.chunked:
            await upload.whole()
        layout = upload.layout(candidate.model)
        request = outgoing(
            upstream, method=call.method, path=call.path, query=call.query, headers=call.headers, layout=layout
        )
        request.patience = patience(entry, upstream, parts)
        tell(request, entry, parts)
        try:
            exchange = await parts.client.open(upstream, request, body if call.has_body else None)
        except (Unreachable, TimedOut) as error:
            if upload.failure is not None:
                raise upload.failure from error
            failure = sent[-1].failure if sent else None
            if isinstance(failure, Overlong):
                continue  # the body is whole by now, so its length is exact
            if isinstance(failure, Unfit):
                return Outcome(Verdict.UNFIT)
            given = not isinstance(error, Unreached)
            return Outcome(_VERDICTS[type(error)], billed=bool(sent) and sent[-1].done, given=given)
        except asyncio.CancelledError:
            entry.executed = bool(sent) and sent[-1].done  # the upstream has it all and will bill for it
            raise
        try:
            return await judged(exchange, entry, parts)
        except (TimedOut, BrokenOff) as error:
            verdict = Verdict.TIMEOUT if isinstance(error, TimedOut) else Verdict.FAILED
            return Outcome(verdict, billed=200 <= exchange.status < 300)  # an error is not billed, whole or broken off


def tell(request: Outgoing, entry: Entry, parts: Parts) -> None:
    """Tell the upstream of the trace that the attempt is part of, where it is to be told."""
    if parts.carried is not None:
        request.headers = {**request.headers, HEADER: parts.carried(entry)}


async def judged(exchange: Exchange, entry: Entry, parts: Parts) -> Exchange | Outcome:
    """The exchange if it serves the request, else what its answer means. Raises TimedOut, BrokenOff."""
    assert entry.candidate is not None
    kind = entry.candidate.upstream.kind
    named = exchange.headers.get("x-oneapi-request-id", exchange.headers.get("x-request-id", ""))
    entry.upstream_request = named if named.isascii() and named.isprintable() and len(named) <= 100 else ""
    try:
        if 200 <= exchange.status < 300 and not await hides_error(exchange, kind, seconds=seconds_left(entry, parts)):
            return exchange
        body = await exchange.start(ERROR_BODY, seconds=ERROR_SECONDS)
    except BaseException as error:
        # It serves, though its caller has gone before the first byte.
        entry.executed = isinstance(error, asyncio.CancelledError) and 200 <= exchange.status < 300
        exchange.close()
        raise
    exchange.close()
    said = {name: exchange.headers.get(name, "") for name in ("retry-after", "date")}
    return judge(kind, status=exchange.status, body=body, retry_after=said["retry-after"], date=said["date"])


async def hides_error(exchange: Exchange, kind: Kind, *, seconds: float) -> bool:
    """Whether an answer with a good status is none. Raises TimedOut, BrokenOff."""
    if not kind.hides_errors or "json" not in exchange.headers.get("content-type", ""):
        return False
    try:
        async with asyncio.timeout(seconds):
            return HIDDEN_ERROR.match(await exchange.peek(ERROR_START)) is not None
    except TimeoutError as error:
        raise TimedOut("the answer's start took too long") from error


def patience(entry: Entry, upstream: Upstream, parts: Parts) -> float:
    """Seconds that an upstream has for the first byte: as configured or by the audio, within those of the request."""
    seconds = upstream.first_byte_timeout
    if seconds is None:
        seconds = deadlines.first_byte(audio=_audio(entry), size=entry.call.size or 0)
    return min(seconds, seconds_left(entry, parts))


def seconds_left(entry: Entry, parts: Parts) -> float:
    """Seconds that the request may still take."""
    return max(parts.total - (parts.clock() - entry.call.started), 0.0)


def _audio(entry: Entry) -> float:
    """Seconds of audio that a request is about: that it brings, or that it has spoken."""
    request = entry.request
    return request.seconds or request.characters / deadlines.CHARACTERS_PER_SECOND
