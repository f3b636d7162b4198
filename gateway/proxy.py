"""The story of one request, from bearer token to settled bill, in seven steps.

authenticate · receive · plan · admit · attempt · relay · settle. `serve` knows no ASGI: a call comes in, a reply
goes out. Whoever reads the reply must close it, however that ends; closing settles.
"""

import asyncio
from collections.abc import Sequence
from math import inf

from gateway import admission
from gateway.attempts import attempted
from gateway.audio.body import reader_for
from gateway.audio.request import endpoint_for
from gateway.audio.usage import tap_for
from gateway.call import Call
from gateway.client import Exchange
from gateway.entry import Entry, Failed
from gateway.errors import Refused, refuse
from gateway.parts import Parts, Reply
from gateway.policy import retry, routing
from gateway.policy.keys import Caller, Presented, notice, read_key
from gateway.policy.limits import NOTHING, duration, reserve
from gateway.policy.retry import Next
from gateway.policy.routing import Candidate
from gateway.store.limits import Admission
from gateway.tasks import checkpoint, to_the_end
from gateway.upload import Upload
from gateway.upstreams.base import Outcome, Verdict
from gateway.upstreams.going import RETURNED

LIMITS = frozenset({"rate_limit", "quota", "over_limit"})


async def serve(call: Call, parts: Parts) -> Reply:
    """One audio request. Raises Refused for whatever stands in its way, once it is in the books."""
    entry = parts.ledger.open(Entry(call))
    try:
        entry.endpoint = endpoint_for(call.method, call.path)
        presented, entry.caller = await authenticate(call, parts)
        entry.at("receive", parts.clock())
        entry.upload = upload = await receive(entry, (presented, entry.caller), parts)
        plan, admitted = await admission.admit(entry, upload, (presented, entry.caller), parts)
        await checkpoint()
        parts.metrics.admitted(
            entry.caller.team,
            seconds=parts.clock() - call.started - upload.waited,
            window=admitted.team_window,
            remaining=admitted.team_remaining,
        )
        entry.at("attempt", parts.clock())
        upload.fill(call.pour)
        exchange = await attempt(entry, plan, parts)
        entry.at("relay", parts.clock())
        return relay(entry, exchange, admitted, parts)
    except BaseException as error:
        if isinstance(error, Refused) and error.name in LIMITS and entry.caller is not None:
            parts.metrics.rejected(entry.caller.team, error.name)
        if isinstance(error, Refused) and entry.endpoint.reader == "form" and entry.tried:
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
    reader = reader_for(
        endpoint, content_type, body_size=call.size, max_bytes=parts.max_bytes, token=call.token or call.rid[4:]
    )
    upload = Upload(call.read, reader, parts.spools.open(call.size or 0), max_bytes=parts.max_bytes, digest=call.digest)
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
        if not parts.health.begin(entry.candidate):
            await aside(entry, left, parts)
        outcome = await attempted(entry, entry.candidate, parts)
        if isinstance(outcome, Exchange):
            return outcome
        outcomes.append(outcome)
        cost = reserve(upload.request, entry.candidate.price) if outcome.billed else NOTHING
        entry.failed.append(Failed(entry.upstream, outcome.verdict, cost))
        left = [candidate for candidate in left if routing.fits(candidate.upstream, upload.request)]
        if outcome.verdict is Verdict.UNFIT and not left:
            raise routing.bad_format(upload.request, [candidate.upstream for candidate in plan])
        left = routing.undrained(left, parts.health.outlook)
        follows = retry.follow(outcomes, others=bool(left), timeouts=entry.candidate.upstream.retry_timeouts)
        if follows is not Next.END and retry.costly(outcome) and not parts.budget.retry(parts.clock()):
            follows = Next.END
            parts.metrics.gave_up()
        if follows is Next.END:
            raise retry.answer(outcomes)
        if follows is Next.SAME:
            await asyncio.sleep(retry.pause(outcomes, draw=parts.draw()))
        elif not await to_the_end(admission.move(entry, left, parts, spent=cost)):
            raise retry.answer(outcomes)
        else:
            left.remove(entry.candidate)
        parts.metrics.switched(outcome.verdict)


async def aside(entry: Entry, left: list[Candidate], parts: Parts) -> None:
    """Others came first, or it was drained: to one of those that are left. Raises Refused (503) where none takes it."""
    assert entry.candidate is not None
    while left:
        if not await to_the_end(admission.move(entry, left, parts)):
            break
        left.remove(entry.candidate)
        if parts.health.begin(entry.candidate):
            return
    known = parts.health.outlook(entry.candidate)
    if known.full or known.drained:
        raise routing.closed([known])


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
