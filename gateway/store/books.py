"""What was used, as pages and commands show it: sums and single requests, by whichever door.

Each look of an operator is written down; what holders of keys see of themselves (`kid`: the key's id) is not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.errors import Refused
from gateway.policy.periods import Period
from gateway.store.history import MOST_FOUND, MOST_LISTED, History
from gateway.store.roll import Roll
from gateway.store.stream import Record
from gateway.store.totals import Line, Totals


@dataclass(frozen=True, slots=True)
class Books:
    """The rooms to read in, and where that is written down. Every function raises Refused (503)."""

    totals: Totals
    history: History
    roll: Roll

    async def used(self, period: Period, by: Sequence[str], only: Mapping[str, str]) -> list[Line]:
        """`Totals.summed`; values of `only` may be empty."""
        lines = await self.totals.summed(period, by, {column: value for column, value in only.items() if value})
        await self.roll.note("usage.show", "*")
        return lines

    async def request(self, rid: str, *, kid: str = "") -> list[Record]:
        """`History.find`. Raises Refused (404), the same for what is of another key than `kid`."""
        try:
            found = await self.history.find(rid, most=MOST_LISTED if kid else MOST_FOUND)
            if kid and any(one.fields.get("key") != kid for one in found):
                raise self.history.none(rid)
        except Refused as refusal:
            if refusal.name == "no_record" and not kid:
                await self.roll.note("requests.show", rid, "none")
            raise
        if not kid:
            await self.roll.note("requests.show", rid)
        return found

    async def requests(
        self,
        count: int,
        *,
        before: str = "",
        errors: bool = False,
        kid: str = "",
        most: int = MOST_LISTED,
        **only: str,
    ) -> tuple[list[Record], str]:
        """`History.latest` of those that have these values in these fields, "" for any, and failed if `errors`.

        A `key` goes by its name or its id, and `kid` by its id alone.
        """
        if key := only.get("key"):
            ids = {name: id_ for id_, name in (await self.totals.key_names()).items()}
            only["key"] = ids.get(key, key)
        wanted = [(field, value) for field, value in (*only.items(), ("key", kid)) if value]
        found = await self.history.latest(count, _fits(wanted, errors=errors), before=before, most=most)
        if not kid:
            await self.roll.note("requests.list", "*")
        return found


def _fits(wanted: Sequence[tuple[str, str]], *, errors: bool) -> Callable[[Mapping[str, str]], bool]:
    def fits(record: Mapping[str, str]) -> bool:
        return all(record.get(field) == value for field, value in wanted) and (
            not errors or bool(record.get("error")) or int(record.get("status") or 0) >= 400
        )

    return fits
