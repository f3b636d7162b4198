"""Requests with an Idempotency-Key: done once, and answered from what was kept when they are sent again.

The first one of a name claims it in the store (`store/repeats.py`) and is served as any other (`first.py`); what comes
behind it under the same name is compared with it (`fingerprint.py`) and never served (`again.py`).
docs/idempotency.md tells what callers see.
"""

import re
import secrets
from collections.abc import Coroutine
from functools import partial
from typing import Any

from gateway import proxy
from gateway.audio.request import endpoint_for
from gateway.call import Call
from gateway.entry import Entry
from gateway.errors import Refused, refuse
from gateway.parts import AnyReply, Parts
from gateway.policy.keys import ALPHABET
from gateway.repeats.again import again, refused
from gateway.repeats.fingerprint import fingerprint
from gateway.repeats.first import First, told
from gateway.store.repeats import Mine
from gateway.tasks import to_the_end

HEADER = "idempotency-key"
NAME = re.compile(r"[\x21-\x7e]{1,255}")
TOKEN_LENGTH = 16  # characters; of a boundary they are what nobody can guess, and `form.py` makes none that is shorter
MARGIN = 60.0  # seconds by which a claim outlives the longest request


def serve(call: Call, parts: Parts) -> Coroutine[Any, Any, AnyReply]:
    """One audio request, done once for each Idempotency-Key. Raises Refused, once it is in the books."""
    if HEADER not in call.headers or call.method != "POST":
        return proxy.serve(call, parts)
    return once(call, parts)


async def once(call: Call, parts: Parts) -> AnyReply:
    """A request that names itself: serve it if it is the first one of its name, else say what became of that."""
    entry, mine = Entry(call), None
    try:
        entry.endpoint = endpoint_for(call.method, call.path)
        if not NAME.fullmatch(call.headers[HEADER]):
            raise refuse("bad_idempotency_key")
        _, entry.caller = await proxy.authenticate(call, parts)
        place = parts.repeats.place(entry.caller, call.headers[HEADER])
        token = "".join(secrets.choice(ALPHABET) for _ in range(TOKEN_LENGTH))
        mine = Mine(place, call.rid, token)
        found = await to_the_end(parts.repeats.claim(mine, lease=parts.total + MARGIN))
    except BaseException as error:
        if mine is not None and not (isinstance(error, Refused) and error.__cause__ is None):  # it may be claimed
            told(partial(parts.repeats.free, mine), parts)
        parts.ledger.open(entry)
        refused(entry, error, parts)
        raise
    if found.state == "mine":
        return await First(mine, fingerprint(call, entry.endpoint, token), parts).serve(call)
    parts.ledger.open(entry)
    try:
        return await again(entry, found, place, parts)
    except BaseException as error:
        refused(entry, error, parts)
        raise
