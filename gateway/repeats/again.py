"""A request whose name is taken: it gets the answer of the first one, or is told why not."""

from gateway.audio.body import reader_for
from gateway.entry import Entry
from gateway.errors import Refused, refuse
from gateway.parts import AnyReply, Parts
from gateway.policy.keys import notice, read_key
from gateway.policy.limits import duration
from gateway.repeats.fingerprint import fingerprint
from gateway.store.repeats import MOST_BYTES, Found, Place
from gateway.upload import Upload

AGAIN = 1.0  # seconds after which to ask for what is under way
PIECE = 64 * 1024
WHY = {
    "gone": "its gateway ended before the answer did, so that nobody knows whether it was served",
    "broken": "the answer broke off",
    "large": f"the answer has more than {MOST_BYTES} bytes",
    "full": "there was no room for it",
    "unread": "it was answered before all of it was read",
    "asked": "it was asked for too often",
}


def refused(entry: Entry, error: BaseException, parts: Parts) -> None:
    """Close the entry of a request that was not served again."""
    if isinstance(error, Refused):
        error.headers = {**notice(entry.caller), **error.headers}
        if error.name in ("under_way", "other_request", "not_kept"):
            parts.metrics.repeated(error.name)
    parts.ledger.close(entry, error=error)


async def again(entry: Entry, found: Found, place: Place, parts: Parts) -> AnyReply:
    """What became of the first request of this name: its answer, if this is the same request. Raises Refused.

    It is not charged, and no limit is asked; it is read as any other, and the store has the last word on its key.
    """
    call = entry.call
    entry.at("replay", parts.clock())
    presented = read_key(call.authorization)
    entry.caller = await parts.keys.holder(presented, now=call.began, peer=call.peer, fresh=True)
    if found.state == "under_way":
        raise refuse("under_way", retry_after=AGAIN, wait=duration(AGAIN))
    if found.print and await printed(entry, found.token, parts) != found.print:
        raise refuse("other_request")
    if found.state == "lost":
        raise refuse("not_kept", why=WHY[found.why])
    if found.size > parts.repeats.room:
        raise refuse("overloaded", retry_after=AGAIN, wait=duration(AGAIN))
    parts.repeats.room -= found.size
    try:
        body = await parts.repeats.body(place)
        if body is None:  # its day ended just now, or it was asked for too often
            raise refuse("under_way", retry_after=AGAIN, wait=duration(AGAIN))
    except BaseException:
        parts.repeats.room += found.size
        raise
    parts.metrics.repeated("replayed")
    return Replayed(entry, found, body, parts)


async def printed(entry: Entry, token: str, parts: Parts) -> str:
    """The fingerprint of a request, which is read whole for it. Raises Refused."""
    call = entry.call
    if call.size is not None and call.size > parts.max_bytes:
        raise refuse("too_large", limit=parts.max_bytes, got=call.size)
    print_ = fingerprint(call, entry.endpoint, token)
    content_type = call.headers.get("content-type", "")
    reader = reader_for(entry.endpoint, content_type, body_size=call.size, max_bytes=parts.max_bytes, token=token)
    entry.upload = upload = Upload(
        call.read, reader, parts.spools.open(call.size or 0), max_bytes=parts.max_bytes, digest=print_
    )
    while not upload.complete:
        await upload.pull()
    upload.close()
    return print_.text


class Replayed:
    """An answer that was given before, on its way to the caller."""

    def __init__(self, entry: Entry, found: Found, body: bytes, parts: Parts) -> None:
        self.status = entry.status = found.status
        given = [(name, value) for name, value in found.headers if name != "content-length"]
        given += [("content-length", str(len(body))), *notice(entry.caller).items()]
        self.headers = (*given, ("idempotency-replayed", "true"), ("x-original-request-id", found.owner))
        self._entry, self._found, self._body, self._parts = entry, found, body, parts

    async def read(self) -> list[bytes]:
        """The next piece, none at the end."""
        at = self._entry.sent
        piece = self._body[at : at + PIECE]
        self._entry.sent += len(piece)
        return [piece] if piece else []

    def close(self, *, error: BaseException | None = None) -> None:
        """It is out, or nobody wants it any more."""
        self._parts.repeats.room += self._found.size
        self._parts.ledger.close(self._entry, error=error)
