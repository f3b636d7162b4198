"""What was used, for operators: sums and single requests, by whichever door. Each look is written down."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.errors import Refused
from gateway.policy.periods import Period
from gateway.store.history import History
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

    async def request(self, rid: str) -> list[Record]:
        """`History.find`. Raises Refused (404)."""
        try:
            found = await self.history.find(rid)
        except Refused as refusal:
            if refusal.name == "no_record":
                await self.roll.note("requests.show", rid, "none")
            raise
        await self.roll.note("requests.show", rid)
        return found

    async def requests(
        self, count: int, *, before: str = "", key: str = "", team: str = "", errors: bool = False
    ) -> tuple[list[Record], str]:
        """`History.latest` of a key (name or id) and a team, "" for all, and only those that failed if `errors`."""
        ids = {name: kid for kid, name in (await self.totals.key_names()).items()} if key else {}
        fits = _fits(key=ids.get(key, key), team=team, errors=errors)
        found = await self.history.latest(count, fits, before=before)
        await self.roll.note("requests.list", "*")
        return found


def _fits(*, key: str, team: str, errors: bool) -> Callable[[Mapping[str, str]], bool]:
    def fits(record: Mapping[str, str]) -> bool:
        return (
            (not key or record.get("key") == key)
            and (not team or record.get("team") == team)
            and (not errors or bool(record.get("error")) or int(record.get("status") or 0) >= 400)
        )

    return fits
