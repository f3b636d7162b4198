"""Asking the store: may this request go, and to whom; and what happens while the store is away."""

from collections.abc import Sequence

from gateway.call import Call
from gateway.entry import Entry
from gateway.errors import Refused, refuse
from gateway.parts import Parts
from gateway.policy import routing
from gateway.policy.keys import Caller, Presented
from gateway.policy.limits import NOTHING, Amounts, reserve
from gateway.policy.pricing import FREE
from gateway.policy.routing import Candidate
from gateway.store.limits import Admission, Offer, Stale
from gateway.upload import Upload

RELOADS = 3
HAS_TO_WAIT = frozenset({"upstream_busy", "overloaded", "drained"})  # whoever the caller is


async def peek(entry: Entry, who: tuple[Presented, Caller], parts: Parts) -> None:
    """Is there anything left for this caller, whatever the request turns out to be? Nothing is reserved.

    Where the store does not answer, it is not asked again for this request.
    """
    call = entry.call
    presented, caller = who
    upstreams = [one for one in parts.market.upstreams if caller.may_use_upstream(one.name)]
    if not upstreams:
        caller = await again(call, presented, parts)
        upstreams = [one for one in parts.market.upstreams if caller.may_use_upstream(one.name)]
    if not upstreams:
        raise refuse("no_upstream")
    free = any(price == FREE for prices in parts.market.prices.values() for price in prices.values())
    least = Amounts(usd=0 if free else 1, ms=1)
    try:
        await parts.limits.admit(
            call.rid, caller, presented, offers=[Offer(one.name, least) for one in upstreams], peek=True
        )
    except Stale:
        return  # admission reads the records again
    except Refused as refusal:
        if refusal.name != "store_down":
            raise
        entry.away = True


async def admit(
    entry: Entry, upload: Upload, who: tuple[Presented, Caller], parts: Parts
) -> tuple[Sequence[Candidate], Admission]:
    """Plan, then ask the store in one round trip: key, limits and the first candidate with room."""
    presented, caller = who
    for _ in range(RELOADS):
        entry.at("plan", parts.clock())
        caller, plan = await planned(entry.call, upload, (presented, caller), parts)
        entry.caller = caller
        offers = _offers(plan, upload)
        entry.at("admit", parts.clock())
        try:
            if entry.away:
                raise refuse("store_down", retry_after=1)
            admission = await parts.limits.admit(
                entry.rid, caller, presented, offers=offers, began=entry.call.began, told=entry.told
            )
        except Stale:
            caller = await again(entry.call, presented, parts)
            continue
        except Refused as refusal:
            admission = without_store(entry, refusal, plan, offers, parts)
        else:
            parts.grace.noted(caller)
        parts.ledger.admitted(entry, _named(plan, admission.upstream), _held(offers, admission.upstream))
        return plan, admission
    raise refuse("bad_key", shown=f"ag_{caller.kid}_…")


async def planned(
    call: Call, upload: Upload, who: tuple[Presented, Caller], parts: Parts
) -> tuple[Caller, Sequence[Candidate]]:
    """Where the request may go. What is remembered of a caller refuses nobody: before that the store is asked."""
    presented, caller = who
    outlook = parts.health.outlook
    try:
        return caller, routing.plan(upload.request, caller, parts.market, outlook=outlook, draw=parts.draw)
    except Refused as refusal:
        if refusal.name in HAS_TO_WAIT:
            raise
        try:
            fresh = await again(call, presented, parts)
        except Refused as other:
            raise (refusal if other.name == "store_down" else other) from None
        return fresh, routing.plan(upload.request, fresh, parts.market, outlook=outlook, draw=parts.draw)


async def again(call: Call, presented: Presented, parts: Parts) -> Caller:
    """The caller as the store knows them now. Raises Refused (401, 503)."""
    return await parts.keys.holder(presented, now=call.began, peer=call.peer, fresh=True)


def without_store(
    entry: Entry, refusal: Refused, plan: Sequence[Candidate], offers: Sequence[Offer], parts: Parts
) -> Admission:
    """What becomes of a request that the store did not answer: it goes on in grace, or is refused for good.

    Where the store is only late, on a busy machine, budgets hold and the request may be sent again.
    """
    caller = entry.caller
    assert caller is not None
    if refusal.name == "store_down":
        if not caller.exact and parts.limits.gone(caller) and parts.grace.admits(caller, offers[0].amounts):
            return Admission(plan[0].upstream.name)
        if refusal.__cause__ is not None:  # it was asked and may have reserved: settling with nothing gives that back
            parts.ledger.admitted(entry, plan[0], offers[0].amounts)
    raise refusal


async def move(entry: Entry, left: Sequence[Candidate], parts: Parts, *, spent: Amounts = NOTHING) -> bool:
    """Move the reservation to the next candidate with room; False where none has.

    `spent` is what the upstream that it leaves may bill.
    """
    assert entry.upload is not None and entry.caller is not None
    offers = _offers(left, entry.upload)
    try:
        name = await parts.limits.switch(entry.rid, entry.caller, held=entry.upstream, offers=offers, spent=spent)
    except Refused:
        name = without_store(entry, refuse("store_down"), left, offers, parts).upstream
    if name is not None:
        entry.candidate, entry.held = _named(left, name), _held(offers, name)
    return name is not None


def _offers(candidates: Sequence[Candidate], upload: Upload) -> list[Offer]:
    return [Offer(one.upstream.name, reserve(upload.request, one.price)) for one in candidates]


def _held(offers: Sequence[Offer], name: str) -> Amounts:
    return next(one.amounts for one in offers if one.upstream == name)


def _named(candidates: Sequence[Candidate], name: str) -> Candidate:
    return next(one for one in candidates if one.upstream.name == name)
