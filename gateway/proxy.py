"""The story of one request, from bearer token to settled bill, in seven steps.

authenticate · receive · plan · admit · attempt · relay · settle. `serve` knows no ASGI: a call comes in, a reply
goes out. Whoever reads the reply must close it, however that ends; closing settles.
"""

import asyncio
from collections.abc import Sequence
from math import inf

from gateway import admission
from gateway.audio.body import reader_for
from gateway.audio.request import endpoint_for
from gateway.audio.usage import tap_for
from gateway.call import Call
from gateway.client import BrokenOff, Exchange, TimedOut, Unreachable, Untrusted
from gateway.entry import Entry, Failed
from gateway.errors import Refused, refuse
from gateway.parts import Parts, Reply
from gateway.policy import deadlines, retry, routing
from gateway.policy.keys import Caller, Presented, notice, read_key
from gateway.policy.limits import NOTHING, duration, reserve
from gateway.policy.retry import Next
from gateway.policy.routing import Candidate
from gateway.store.limits import Admission
from gateway.tasks import checkpoint, to_the_end
from gateway.upload import Overlong, Sent, Unfit, Upload
from gateway.upstreams.base import HIDDEN_ERROR, RETURNED, Outcome, Upstream, Verdict, judge, outgoing

ERROR_BODY = 64 * 1024
ERROR_START = 2048
LIMITS = frozenset({"rate_limit", "quota", "over_limit"})
SERVED = Outcome(Verdict.SERVED)
_VERDICTS = {TimedOut: Verdict.TIMEOUT, Untrusted: Verdict.UNTRUSTED, Unreachable: Verdict.UNREACHABLE}


async def serve(call: Call, parts: Parts) -> Reply:
    """One audio request. Raises Refused for whatever stands in its way, once it is in the books."""
    entry = parts.ledger.open(Entry(call))
    try:
        entry.endpoint = endpoint_for(call.method, call.path)
        presented, entry.caller = await authenticate(call, parts)
        entry.step = "receive"
        entry.upload = upload = await receive(entry, (presented, entry.caller), parts)
        entry.step = "admit"
        plan, admitted = await admission.admit(entry, upload, (presented, entry.caller), parts)
        await checkpoint()
        parts.metrics.admitted(
            entry.caller.team,
            seconds=parts.clock() - call.started - upload.waited,
            window=admitted.team_window,
            remaining=admitted.team_remaining,
        )
        entry.step = "attempt"
        upload.fill(call.pour)
        exchange = await attempt(entry, plan, parts)
        entry.step = "relay"
        return relay(entry, exchange, admitted, parts)
    except BaseException as error:
        if isinstance(error, Refused) and error.name in LIMITS and entry.caller is not None:
            parts.metrics.rejected(entry.caller.team, error.name)
        if isinstance(error, Refused) and entry.endpoint.reader == "form" and entry.attempts:
            # Every upstream was tried; and an SDK (openai-node 4) that sends a form again sends it empty, and hangs.
            error.headers = {"x-should-retry": "false", **error.headers}
        if isinstance(error, Refused):
            error.headers = {**notice(entry.caller), **error.headers}
        parts.ledger.close(entry, error=error)
        raise


async def authenticate(call: Call, parts: Parts) -> tuple[Presented, Caller]:
    """Whose key is it? What does not look like one of ours is refused without asking anybody."""
    presented = read_key(call.authorization)
    return presented, await parts.keys.holder(presented, now=call.began, peer=call.peer)


async def receive(entry: Entry, who: tuple[Presented, Caller], parts: Parts) -> Upload:
    """Read the body until it can be routed: with the fields first, that is before the audio.

    With the audio first, or for an exact key, it has to be read whole: the limits that need no body are asked before.
    """
    call, endpoint = entry.call, entry.endpoint
    if call.size is not None and call.size > parts.max_bytes:
        raise refuse("too_large", limit=parts.max_bytes, got=call.size)
    content_type = call.headers.get("content-type", "")
    reader = reader_for(endpoint, content_type, body_size=call.size, max_bytes=parts.max_bytes, token=call.rid[4:])
    upload = Upload(call.read, reader, parts.spools.open(), max_bytes=parts.max_bytes)
    exact = who[1].exact and endpoint.reader == "form"
    try:
        asked = "expect" in call.headers  # 100-continue: it is asked for what may be let in only
        if asked:
            await admission.peek(entry, who, parts)
        while not upload.routable or (exact and not asked):
            await upload.pull()
            if not asked and (upload.blocked or exact):
                await admission.peek(entry, who, parts)
                asked = True
        if exact:
            await upload.measure(parts.probe)
    except BaseException:
        upload.close()
        raise
    return upload


async def attempt(entry: Entry, plan: Sequence[Candidate], parts: Parts) -> Exchange:
    """Try the admitted candidate, then the others as `policy/retry.py` allows. Raises Refused when none served."""
    upload = entry.upload
    assert upload is not None and entry.candidate is not None and entry.caller is not None
    outcomes: list[Outcome] = []
    left = [candidate for candidate in plan if candidate is not entry.candidate]
    parts.budget.request(parts.clock())
    while True:
        outcome = await noted(entry, entry.candidate, parts)
        if isinstance(outcome, Exchange):
            return outcome
        outcomes.append(outcome)
        cost = reserve(upload.request, entry.candidate.price) if outcome.billed else NOTHING
        entry.failed.append(Failed(entry.upstream, outcome.verdict, cost))
        left = [candidate for candidate in left if routing.fits(candidate.upstream, upload.request)]
        if outcome.verdict is Verdict.UNFIT and not left:
            raise routing.bad_format(upload.request, [candidate.upstream for candidate in plan])
        follows = retry.follow(outcomes, others=bool(left), timeouts=entry.candidate.upstream.retry_timeouts)
        if follows is Next.END or (retry.costly(outcome) and not parts.budget.retry(parts.clock())):
            raise retry.answer(outcomes)
        if follows is Next.SAME:
            await asyncio.sleep(retry.pause(outcomes, draw=parts.draw()))
        elif not await to_the_end(admission.move(entry, left, parts)):
            raise retry.answer(outcomes)
        else:
            left.remove(entry.candidate)
        parts.metrics.switched(outcome.verdict)


async def noted(entry: Entry, candidate: Candidate, parts: Parts) -> Exchange | Outcome:
    """One attempt; whatever comes of it is remembered of that upstream."""
    upstream, model = candidate.upstream.name, candidate.model
    entry.attempts += 1
    began = parts.clock()
    parts.health.begin(upstream, model)
    answer = await try_one(entry, candidate, parts)
    if isinstance(answer, Exchange):
        parts.metrics.attempted(upstream, Verdict.SERVED, parts.clock() - began)
        parts.health.note(upstream, model, SERVED, took=answer.took, audio=_audio(entry))
    else:
        parts.metrics.attempted(upstream, answer.verdict, parts.clock() - began)
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
            return Outcome(_VERDICTS[type(error)], billed=bool(sent) and sent[-1].done)
        except asyncio.CancelledError:
            entry.executed = bool(sent) and sent[-1].done  # the upstream has it all and will bill for it
            raise
        try:
            return await judged(exchange, entry)
        except (TimedOut, BrokenOff) as error:
            verdict = Verdict.TIMEOUT if isinstance(error, TimedOut) else Verdict.FAILED
            return Outcome(verdict, billed=200 <= exchange.status < 300)  # an error is not billed, whole or broken off


async def judged(exchange: Exchange, entry: Entry) -> Exchange | Outcome:
    """The exchange if it serves the request, else what its answer means. Raises TimedOut, BrokenOff."""
    assert entry.candidate is not None
    kind = entry.candidate.upstream.kind
    named = exchange.headers.get("x-oneapi-request-id", exchange.headers.get("x-request-id", ""))
    entry.upstream_request = named if named.isascii() and named.isprintable() and len(named) <= 100 else ""
    try:
        suspect = kind.hides_errors and "json" in exchange.headers.get("content-type", "")
        if 200 <= exchange.status < 300 and not (suspect and HIDDEN_ERROR.match(await exchange.peek(ERROR_START))):
            return exchange
        body = await exchange.start(ERROR_BODY)
    except BaseException as error:
        # It serves, though its caller has gone before the first byte.
        entry.executed = isinstance(error, asyncio.CancelledError) and 200 <= exchange.status < 300
        exchange.close()
        raise
    exchange.close()
    said = {name: exchange.headers.get(name, "") for name in ("retry-after", "date")}
    return judge(kind, status=exchange.status, body=body, retry_after=said["retry-after"], date=said["date"])


def patience(entry: Entry, upstream: Upstream, parts: Parts) -> float:
    """Seconds that an upstream has for the first byte: as configured or by the audio, within those of the request."""
    seconds = upstream.first_byte_timeout
    if seconds is None:
        seconds = deadlines.first_byte(audio=_audio(entry), size=entry.call.size or 0)
    left = parts.total - (parts.clock() - entry.call.started)
    return max(min(seconds, left), 0.0)


def _audio(entry: Entry) -> float:
    """Seconds of audio that a request is about: that it brings, or that it has spoken."""
    request = entry.request
    return request.seconds or request.characters / deadlines.CHARACTERS_PER_SECOND


def relay(entry: Entry, exchange: Exchange, admitted: Admission, parts: Parts) -> Reply:
    """The answer, with the upstream's headers that a caller may see and our own; its bytes pass a tap for usage."""
    entry.executed, entry.status = True, exchange.status
    headers = [(name, exchange.headers[name]) for name in RETURNED if name in exchange.headers]
    headers += notice(entry.caller).items()
    if admitted.limit >= 0:
        headers += [
            ("x-ratelimit-limit-requests", str(admitted.limit)),
            ("x-ratelimit-remaining-requests", str(admitted.remaining)),
        ]
        if admitted.reset_ms >= 0:
            headers.append(("x-ratelimit-reset-requests", duration(admitted.reset_ms / 1000)))
    encoded = exchange.headers.get("content-encoding", "identity") != "identity"
    content_type = exchange.headers.get("content-type", "")
    entry.tap = tap_for(content_type, encoded=encoded)
    idle = exchange.idle if content_type.startswith("audio/") else inf
    return Reply(exchange.status, tuple(headers), exchange, entry, parts, idle=idle)
