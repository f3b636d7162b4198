"""The records of single requests: found again, listed, let go when they are old."""

import logging
from collections import deque
from collections.abc import Callable, Mapping

from gateway.config.model import Usage
from gateway.errors import Refused, refuse
from gateway.metrics import Metrics
from gateway.policy.exports import place
from gateway.policy.ids import began
from gateway.store.connection import Connection
from gateway.store.stream import AT_ONCE, Record, Stream

log = logging.getLogger("audiogate")
MOST_FOUND = 2_000_000  # records that a search for one request looks at
MOST_LISTED = 100_000  # and a list of the newest ones
SKEW_SECONDS = 60  # a gateway's clock may be so far ahead of the store's
OPEN = ("expired", "unsettled")  # errors of records that a late settle may correct


class History:
    """All records that there are. Every function raises Refused (503) when the store is away."""

    def __init__(self, connection: Connection, usage: Usage, *, metrics: Metrics) -> None:
        self._streams = [Stream(shard, usage) for shard in connection.shards]
        self._usage, self._metrics = usage, metrics

    def stream(self, shard: int | None = None) -> Stream:
        """The records of a shard, in order; which one must be said where there are several. Raises Refused (400)."""
        number = 0 if shard is None and len(self._streams) == 1 else shard
        if number is None or not 0 <= number < len(self._streams):
            why = f"name one shard, 0 to {len(self._streams) - 1}: each has records of its own"
            raise refuse("invalid", param="shard", why=why)
        return self._streams[number]

    async def find(self, rid: str, *, most: int = MOST_FOUND) -> list[Record]:
        """All records of a request, a correction behind what it corrects. Raises Refused (404) if there is none.

        The search begins where the request did, by its id, and looks at `most` records of each shard.
        """
        for stream in self._streams:
            if found := await _find(stream, rid, most):
                return found
        raise self.none(rid)

    def none(self, rid: str) -> Refused:
        """What is answered where there is no record of a request."""
        return refuse("no_record", rid=rid, kept=kept(self._usage))

    async def latest(
        self, count: int, fits: Callable[[Mapping[str, str]], bool], *, before: str = "", most: int = MOST_LISTED
    ) -> tuple[list[Record], str]:
        """The last `count` records that fit, the newest first, and the cursor to go on `before`, "" at the end.

        Looks at `most` records: there may be fewer than `count` of them although there are more.
        """
        found: list[Record] = []
        readers = [_Backwards(stream, before) for stream in self._streams]
        for _ in range(most):
            heads = [(place(head.cursor), reader) for reader in readers if (head := await reader.head()) is not None]
            if not heads:
                return found, ""
            one = max(heads, key=lambda pair: pair[0])[1].taken()
            before = one.cursor
            if fits(one.fields):
                found.append(one)
                if len(found) == count:
                    break
        return found, before

    async def since(self, at: float, fits: Callable[[Mapping[str, str]], bool], *, most: int) -> list[Record]:
        """The records of requests that ended from then on (seconds since 1970) and fit, the newest first.

        No more than `most`, nor out of more than ten times as many.
        """
        found: list[Record] = []
        readers, begin = [_Backwards(stream, "") for stream in self._streams], (int(at * 1000), 0)
        for _ in range(10 * most):
            heads = [(place(head.cursor), reader) for reader in readers if (head := await reader.head()) is not None]
            last = max(heads, key=lambda pair: pair[0], default=None)
            if last is None or last[0] < begin or len(found) == most:
                break
            if fits((one := last[1].taken()).fields):
                found.append(one)
        return found

    async def trim(self) -> None:
        """Let go of what is old enough, count what is left, warn if that is too much. To be called every minute."""
        left = [await stream.trim() for stream in self._streams]
        records, unexported = sum(one.records for one in left), sum(one.unexported for one in left)
        self._metrics.recorded(records, unexported=unexported)
        if any(one.warn for one in left):
            log.warning(
                "the store holds %d usage records, %d of them not exported (usage.alarm is %d); "
                "export them with `audiogate export` and set usage.keep, or raise usage.alarm",
                *(records, unexported, self._usage.alarm),
            )


class _Backwards:
    """Reads a stream from its end."""

    def __init__(self, stream: Stream, before: str) -> None:
        self._stream, self._before, self._ahead, self._over = stream, before, deque[Record](), False

    async def head(self) -> Record | None:
        """The next record, None at the beginning of the stream."""
        if not self._ahead and not self._over:
            self._ahead.extend(await self._stream.back(self._before))
            self._over = len(self._ahead) < AT_ONCE
        return self._ahead[0] if self._ahead else None

    def taken(self) -> Record:
        """The record that `head` gave; the next one is before it."""
        one = self._ahead.popleft()
        self._before = one.cursor
        return one


def kept(usage: Usage) -> str:
    """A sentence on how long records are kept."""
    if usage.keep is None:
        return "Records are kept for ever."
    days, seconds = divmod(usage.keep, 86_400)
    span = f"{days} days" if days > 1 and not seconds else f"{usage.keep / 3600:g} hours"
    return f"Records are kept for {span}{', and until they are exported' if usage.trim == 'exported' else ''}."


async def _find(stream: Stream, rid: str, most: int) -> list[Record]:
    after, looked, found = f"{max(0, int((began(rid) - SKEW_SECONDS) * 1000))}-0", 0, list[Record]()
    while looked < most and (some := await stream.page(after, whole=False)):
        found += [one for one in some if one.fields.get("id") == rid]
        if found and found[-1].fields.get("error") not in OPEN:
            break
        after, looked = some[-1].cursor, looked + len(some)
    return found
