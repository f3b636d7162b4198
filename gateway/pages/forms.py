"""What forms about keys and teams say, in the shape of the configuration file; `config/asked.py` checks it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TypeVar

from gateway.config.model import Key, Team
from gateway.pages.visiting import Visit
from gateway.policy.limits import MEASURES, PERIODS
from gateway.policy.terms import moment, told

BLANK_ROWS = 2
ROW = ("measure", "per", "amount", "burst")
SINGLE = ("team", "timezone", "expires", "note")
LISTS = ("models", "upstreams", "ips")
H = TypeVar("H", Key, Team)


@dataclass(frozen=True, slots=True)
class Filled:
    """A form as it is shown: what stands in its fields, the rows of limits, and what may be chosen."""

    fields: Mapping[str, str]
    limits: Sequence[Mapping[str, str]]
    measures: Sequence[str] = tuple(MEASURES)
    periods: Sequence[str] = tuple(PERIODS)

    def of(self, name: str) -> str:
        """What stands in a field."""
        return self.fields.get(name, "")


def asked(visit: Visit) -> dict[str, object]:
    """The fields that were sent; None where one was left empty."""
    form = visit.form
    found: dict[str, object] = {name: form[name] or None for name in SINGLE if name in form}
    for name in LISTS:
        if name in form:
            found[name] = [part.strip() for part in form[name].replace("\n", ",").split(",") if part.strip()] or None
    if "exact_shown" in form:
        found["exact"] = "true" if "exact" in form else "false"
    found["limits"] = [_limit(row) for row in _rows(visit) if row["amount"]] or None
    return found


def onto(asked: H, fields: Sequence[str]) -> Callable[[H], H]:
    """The change that gives a key or a team what was asked for in these fields."""
    return lambda now: replace(now, **{field: getattr(asked, field) for field in fields})


def sent(visit: Visit) -> Filled:
    """The form again as it was sent, to be put right."""
    return Filled({**visit.form, "exact": "yes" if "exact" in visit.form else ""}, _padded(_rows(visit)))


def empty(**fields: str) -> Filled:
    """A form to begin with."""
    return Filled(fields, _padded([]))


def filled(one: Key | Team) -> Filled:
    """The form that says what a key or a team is now."""
    fields = {"name": one.name, "note": one.note, "models": _names(one.models), "upstreams": _names(one.upstreams)}
    if isinstance(one, Key):
        fields |= {"team": one.team, "ips": _names(one.ips), "exact": "yes" if one.exact else ""}
        fields["expires"] = "" if one.expires is None else moment(one.expires)
    else:
        fields["timezone"] = one.timezone
    rows = [
        {
            "measure": limit.measure,
            "per": limit.per,
            "amount": str(told(limit.measure, limit.amount)),
            "burst": str(limit.burst or ""),
        }
        for limit in one.limits
    ]
    return Filled(fields, _padded(rows))


def _rows(visit: Visit) -> list[dict[str, str]]:
    columns = [visit.lists.get(f"limit_{name}", ()) for name in ROW]
    return [dict(zip(ROW, cells, strict=True)) for cells in zip_longest(*columns, fillvalue="")]


def _limit(row: Mapping[str, str]) -> dict[str, str]:
    """A row without what is empty; a number at once has no period, whatever the form still shows there."""
    found = {name: text for name, text in row.items() if text}
    if row["measure"] == "concurrency":
        found.pop("per", None)
    return found


def _padded(rows: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    return [*rows, *[dict.fromkeys(ROW, "")] * BLANK_ROWS]


def _names(names: Sequence[str] | None) -> str:
    return ", ".join(names or ())
