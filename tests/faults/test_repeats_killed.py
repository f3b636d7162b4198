"""A gateway that dies in the middle of a request with an Idempotency-Key: sent again, it is not served twice."""

from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.checker import Oracle, checking, oracle
from tests.faults.crash import How
from tests.faults.jobs import KINDS, Job, Place
from tests.faults.nursery import nursery, two_upstreams
from tests.faults.test_crash_points import MOST, inherit
from tests.running import Running, running
from tests.wire import Said, dial


async def post(place: Place, job: Job, name: str) -> Said | None:
    """Send the job under a name; None if nothing was said to it."""
    with suppress(ConnectionError, EOFError, OSError):
        async with dial(place) as wire:  # type: ignore[arg-type]
            said = await wire.post(job.target, job.body, f"Idempotency-Key: {name}", content_type=job.content_type)
            return said if said.whole else None
    return None


async def end_of_leases(heir: Running) -> None:
    """The claims of gateways that are gone have waited long enough."""
    store = heir.app.connection.client
    async for name in store.scan_iter("{ag}:once:*"):
        await store.hset(name, "until", 1)


def executed(job: Job, *oracles: Oracle) -> int:
    """How often upstreams got it whole and served it."""
    return sum(one == job.digest for upstream in oracles for one in upstream.executed(answered=True))


WAYS = [(How.KILLED_AFTER, "fields first"), (How.KILLED_BEFORE, "fields first"), (How.KILLED_AFTER, "speech")]
ENOUGH = 3  # times that all of it was served: what is killed behind the answer has been tried, too


@pytest.mark.parametrize(("how", "route"), [WAYS[0], *(pytest.param(*way, marks=pytest.mark.soak) for way in WAYS[1:])])
async def test_C_17_a_gateway_that_is_killed(store_url: str, data: Path, how: How, route: str) -> None:
    """At each call that it makes to the world outside, in turn."""
    seen: dict[str, int] = {}
    charges = 0
    async with oracle("a") as a, oracle("b") as b, checking(store_url, a, b) as checker, nursery() as cradle:
        places = ("a", a.url), ("b", b.url)
        async with running(two_upstreams(data, *places), url=store_url) as heir:
            for at in range(1, MOST):
                job, name = KINDS[route](at), f"n{at}"
                doomed = await cradle.gateway(data=str(data), url=store_url, places=places, exact=False, how=how, at=at)
                first = await post(doomed, job, name)
                if first is not None:
                    doomed.kill()
                await doomed.gone()
                soon = await post(heir, job, name)
                assert soon is not None
                await inherit(heir, "journal")
                await end_of_leases(heir)
                late = await post(heir, job, name)
                assert late is not None
                await checker.at_rest(heir)
                times = executed(job, a, b)
                said = [f"{one.status if one else '-'}" for one in (first, soon, late)]
                print(f"C-17 {how} {at:3} said {' '.join(said)}, executed {times}")
                assert times <= 1
                assert late.status in (200, 409)
                if late.status == 409:
                    assert late.error["code"] == "answer_not_kept"
                rows = [fields for _, fields in await heir.app.connection.client.xrange("{ag}:usage")]
                charged = [row for row in rows if int(row["cost_micro_usd"]) > 0 and "takes_back" not in row]
                assert len(charged) - charges <= 1
                assert len(charged) - charges >= times, "what was executed is charged"
                charges = len(charged)
                seen[" ".join(said)] = seen.get(" ".join(said), 0) + 1
                if seen.get("200 200 200", 0) == ENOUGH:
                    break
    print("C-17", how, route, seen)
    assert "- 200 200" in seen, "before it had claimed the name, it is a new try"
    assert "- 409 409" in seen, "behind that nobody knows"
    assert "200 200 200" in seen
