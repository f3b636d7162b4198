"""The gateway's books: its records, counters and sums, and whether they agree with each other."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults.jobs import Told

Row = dict[str, str]
SAMPLE = re.compile(r"^(audiogate_\w+_total)(?:\{.*\})? (\S+)$", re.MULTILINE)
NUMBERS = "local s = redis.call('HGET', KEYS[1], 's') return s and cmsgpack.unpack(s) or {}"


@dataclass(frozen=True)
class Sums:
    """Micro-USD, milliseconds of audio, characters."""

    usd: int = 0
    ms: int = 0
    characters: int = 0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(self.usd + other.usd, self.ms + other.ms, self.characters + other.characters)

    def __neg__(self) -> "Sums":
        return Sums(-self.usd, -self.ms, -self.characters)

    @staticmethod
    def total(some: Iterable["Sums"]) -> "Sums":
        """All of them together."""
        return sum(some, Sums())


def metrics_of(text: str) -> Sums:
    """What a gateway's metrics say was charged."""
    found = Counter[str]()
    for name, value in SAMPLE.findall(text):
        found[name] += float(value)  # type: ignore[assignment]
    return Sums(
        round(found["audiogate_cost_micro_usd_total"]),
        round(found["audiogate_audio_seconds_total"] * 1000),
        round(found["audiogate_characters_total"]),
    )


def _sums(row: Row) -> Sums:
    return Sums(int(row["cost_micro_usd"]), int(row["audio_ms"]), int(row["characters"]))


def _failed(row: Row) -> list[tuple[str, int]]:
    """What failed attempts cost, by upstream."""
    parts = (one.rsplit(":", 2) for one in row.get("failed", "").split())
    return [(upstream, int(usd)) for upstream, _, usd in parts]


@dataclass
class Books:
    """What the store holds: records in their order, numbers of scopes, sums by hour and by day, what is reserved."""

    rows: list[Row]
    scopes: dict[str, list[int]]
    hours: Counter[str]
    days: Counter[str]
    held: list[str]

    @classmethod
    async def read(cls, client: Any) -> "Books":
        """All of it."""
        found = await client.xrange("{ag}:usage")
        rows = [{_text(name): _text(value) for name, value in fields.items()} for _, fields in found]
        scopes = {}
        async for name in client.scan_iter("{ag}:[ktu]:*", count=1000):
            scopes[_text(name)] = [int(one) for one in await client.eval(NUMBERS, 1, name)] or [0] * 32
        cubes = []
        for pattern in ("{ag}:hour:*", "{ag}:day:*"):
            cube = Counter[str]()
            async for name in client.scan_iter(pattern, count=1000):
                cube.update({_text(key): int(value) for key, value in (await client.hgetall(name)).items()})
            cubes.append(cube)
        held = [_text(one) for one in await client.hkeys("{ag}:held") + await client.zrange("{ag}:leases", 0, -1)]
        return cls(rows, scopes, cubes[0], cubes[1], held)

    @property
    def late(self) -> set[str]:
        """Requests that expired and were settled after all."""
        return {row["id"] for row in self.rows if "takes_back" in row}

    @property
    def final(self) -> list[Row]:
        """The records that count in the end."""
        late = self.late
        return [row for row in self.rows if "takes_back" in row or row["id"] not in late or not _expired(row)]

    def double(self) -> int:
        """How many requests have more than one record that counts."""
        return sum(times > 1 for times in Counter(row["id"] for row in self.final).values())

    def lost(self, told: Sequence[Told], answered: Counter[str]) -> int:
        """Successes that nobody was charged for: those that a client saw, and those that an upstream served."""
        charged = {row["id"] for row in self.final if int(row["cost_micro_usd"]) > 0}
        seen = [one for one in told if 200 <= one.status < 300]
        missing = sum(one.rid not in charged for one in seen)
        # What a failed attempt executed is in the record of the request; what a dead gateway left is known by route.
        in_books = {
            (row["route"], row.get("bytes_in", "")) for row in self.final if int(row.get("upstream_micro_usd", 0)) > 0
        }
        expired = Counter(row["route"] for row in self.final if _expired(row) and row["id"] in charged)
        expired.subtract(one.job.route for one in seen if one.rid in charged and not _known(one, in_books))
        silent = Counter(
            one.job.route
            for one in told
            if answered[one.job.digest] and not 200 <= one.status < 300 and not _known(one, in_books)
        )
        return missing + sum((silent - expired).values())

    def groundless(self, told: Sequence[Told], executed: Counter[str]) -> list[Row]:
        """Records that charge for what no upstream got."""
        known = {(one.job.route, str(len(one.job.body))): one.job.digest for one in told}
        charged = [row for row in self.final if int(row["cost_micro_usd"]) > 0 and not _expired(row)]
        return [row for row in charged if not executed[known.get((row["route"], row.get("bytes_in", "")), "")]]

    def problems(self) -> list[str]:
        """Where the books do not agree with each other."""
        found = [f"I4: held: {one}" for one in self.held]
        for name, numbers in self.scopes.items():
            if numbers[0] or any(numbers[6:10]):
                found.append(f"I4: {name}: {numbers[0]} in flight, {numbers[6:10]} reserved")
            if (got := Sums(*numbers[26:29])) != (wanted := self._wanted(name, got)):
                found.append(f"I7: {name} has {got}, its records {wanted}")
        everything = self._total()
        for what, cube in (("hours", self.hours), ("days", self.days)):
            got = Counter[str]()
            for name, amount in cube.items():
                got[name.rsplit("|", 1)[1]] += amount
            if Sums(got["usd"], got["ms"], got["characters"]) != everything or got["requests"] != len(self.final):
                found.append(f"I7: {what} have {got}, {len(self.final)} records {everything}")
            paid = sum(int(row.get("upstream_micro_usd", 0)) for row in self.final)
            if got["cost"] != paid:
                found.append(f"I7: {what} have a cost of {got['cost']}, records {paid}")
        return found

    def compared(self, metrics: Sums) -> list[str]:
        """The same for the metrics: those of dead gateways' requests are nowhere."""
        wanted = Sums.total(_sums(row) for row in self.final if not _expired(row))
        return [f"I7: metrics have {metrics}, records {wanted}"] * (metrics != wanted)

    def _total(self) -> Sums:
        return Sums.total(_sums(row) for row in self.final)

    def _wanted(self, scope: str, got: Sums) -> Sums:
        _, kind, name = scope.split(":", 2)
        if kind in "kt":
            column = {"k": "key", "t": "team"}[kind]
            return Sums.total(_sums(row) for row in self.final if row[column] == name)
        paid = 0
        for row in self.final:
            failed = _failed(row)
            paid += sum(usd for upstream, usd in failed if upstream == name)
            if row["upstream"] == name:
                paid += int(row["upstream_micro_usd"]) - sum(usd for _, usd in failed)
        return Sums(paid, got.ms, got.characters)  # records tell the money of failed attempts, not their seconds


def _text(one: bytes | str) -> str:
    return one.decode() if isinstance(one, bytes) else one


def _expired(row: Row) -> bool:
    return row["error"] == "expired" and "takes_back" not in row


def _known(one: Told, in_books: set[tuple[str, str]]) -> bool:
    return (one.job.route, str(len(one.job.body))) in in_books
