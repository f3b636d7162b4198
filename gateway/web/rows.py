"""Keys, teams and limits as programs are told them: JSON in the units of the configuration file."""

from collections.abc import Sequence
from typing import Literal, TypedDict

from pydantic import BaseModel, Field

from gateway.config.model import Key, Team
from gateway.policy.limits import Limit
from gateway.policy.terms import moment, told
from gateway.store.records import KeyRecord, TeamRecord
from gateway.store.roll import Deed, Standing

Measure = Literal["usd", "audio_seconds", "characters", "requests", "concurrency"]
Period = Literal["minute", "hour", "day", "month", "total"]
Amount = str | int | float
AMOUNT = "US dollars (a decimal text), seconds of audio, characters, requests, or requests at once."
WHEN = "RFC 3339, UTC."
PER = "In which period; days and months are those of the team's time zone. Null for concurrency, and for nothing else."
BURST = "Of requests per minute or hour: how many may come at once. Null: as many as the limit."


class LimitRow(BaseModel):
    """At most `amount` of `measure` per `per`."""

    measure: Measure = Field(description="What is counted.")
    per: Period | None = Field(None, description=PER)
    amount: Amount = Field(description=AMOUNT)
    burst: int | None = Field(None, description=BURST)


class StandingRow(BaseModel):
    """A limit and how far it is used."""

    measure: Measure = Field(description="What is counted.")
    per: Period | None = Field(description="Null for concurrency.")
    limit: Amount = Field(description=AMOUNT)
    burst: int | None = Field(description=BURST)
    used: Amount = Field(
        description="What requests that have ended used in this period; of requests per minute or hour: how many of "
        "the burst cannot come now."
    )
    reserved: Amount = Field(description="What requests that still run may come to use.")
    resets: str | None = Field(
        description="When the period starts anew, or the whole burst may come again; null: never. " + WHEN
    )


class Terms(TypedDict):
    """What the rows of keys and teams have in common."""

    name: str
    models: list[str] | None
    upstreams: list[str] | None
    limits: list[LimitRow]
    note: str


class TeamRow(BaseModel):
    """A team."""

    name: str
    models: list[str] | None = Field(description="Null: all.")
    upstreams: list[str] | None = Field(description="Null: all.")
    limits: list[LimitRow]
    timezone: str = Field(description="Where its days and months begin, such as Asia/Shanghai.")
    note: str
    state: str = Field(description="`active`, or `dropped`: the configuration file no longer names it.")
    origin: str = Field(description="`config`: the file declares it and it is changed there. `admin`: made by hand.")
    created: str | None = Field(description=WHEN)


class KeyRow(BaseModel):
    """A key, without its secret."""

    name: str
    id: str = Field(description="Its public id, as in usage records and logs.")
    shown: str = Field(description="What may be shown of its text.")
    team: str
    models: list[str] | None = Field(description="Null: all that the team may use.")
    upstreams: list[str] | None = Field(description="In the order of choice. Null: all that the team may use.")
    limits: list[LimitRow]
    ips: list[str] | None = Field(description="Networks that it may be used from. Null: any.")
    expires: str | None = Field(description=WHEN)
    exact: bool = Field(description="Uploads are measured before they are let in: no limit is ever exceeded.")
    note: str
    state: str = Field(description="`active`, `expired` or `revoked`.")
    origin: str = Field(description="`config`: the file declares it and it is changed there. `admin`: made by hand.")
    created: str | None = Field(description=WHEN)
    previous_until: str | None = Field(description="So long the secret before the last rotation is good. " + WHEN)


class KeyMade(KeyRow):
    """A key with its secret: the only time that it is told."""

    key: str = Field(description="The key itself. It is kept nowhere: whoever needs it has to copy it now.")


class KeyShown(KeyRow):
    """A key and where it stands."""

    standing: list[StandingRow]


class TeamShown(TeamRow):
    """A team and where it stands."""

    standing: list[StandingRow]


class KeyList(BaseModel):
    """All keys, by name."""

    object: Literal["list"] = "list"
    data: list[KeyRow]


class TeamList(BaseModel):
    """All teams, by name."""

    object: Literal["list"] = "list"
    data: list[TeamRow]


class DeedRow(BaseModel):
    """What somebody did with keys and teams."""

    id: str = Field(description="Its place in the stream, for `before`.")
    time: str = Field(description=WHEN)
    door: str = Field(description="`config`, `cli` or `api`.")
    action: str = Field(description="Such as keys.create, keys.rotate, teams.change, audit.list.")
    what: str = Field(description="The name it was done to; `*`: to all.")
    result: str = Field(description="`ok`, or why it was refused.")


class DeedList(BaseModel):
    """Lines of the audit stream, the newest first."""

    object: Literal["list"] = "list"
    data: list[DeedRow]


def limit_rows(limits: Sequence[Limit]) -> list[LimitRow]:
    """Limits as they are told."""
    return [
        LimitRow.model_validate(
            {
                "measure": one.measure,
                "per": one.per or None,
                "amount": told(one.measure, one.amount),
                "burst": one.burst or None,
            }
        )
        for one in limits
    ]


def standing_rows(found: Sequence[Standing]) -> list[StandingRow]:
    """The same with where they stand."""
    rows = []
    for one in found:
        measure, amounts = one.limit.measure, {"limit": one.limit.amount, "used": one.used, "reserved": one.reserved}
        row = {name: told(measure, amount) for name, amount in amounts.items()}
        rows.append(
            StandingRow.model_validate(
                {
                    "measure": measure,
                    "per": one.limit.per or None,
                    **row,
                    "burst": one.limit.burst or None,
                    "resets": when(one.resets),
                }
            )
        )
    return rows


def when(seconds: float | None) -> str | None:
    """A time as it is told."""
    return None if seconds is None else moment(seconds)


def key_row(record: KeyRecord) -> KeyRow:
    """A key as it is told."""
    key = record.key
    return KeyRow(
        **_terms(key),
        id=record.kid,
        shown=record.shown,
        team=key.team,
        ips=None if key.ips is None else list(key.ips),
        expires=when(key.expires),
        exact=key.exact,
        state=record.state,
        origin=record.origin,
        created=when(record.made),
        previous_until=when(record.previous_until),
    )


def team_row(record: TeamRecord) -> TeamRow:
    """A team as it is told."""
    return TeamRow(
        **_terms(record.team),
        timezone=record.team.timezone,
        state=record.state,
        origin=record.origin,
        created=when(record.made),
    )


def deed_row(deed: Deed) -> DeedRow:
    """A line of the audit stream as it is told."""
    return DeedRow(
        id=deed.id, time=moment(deed.at), door=deed.door, action=deed.action, what=deed.what, result=deed.result
    )


def _terms(one: Key | Team) -> Terms:
    return Terms(
        name=one.name,
        models=None if one.models is None else list(one.models),
        upstreams=None if one.upstreams is None else list(one.upstreams),
        limits=limit_rows(one.limits),
        note=one.note,
    )
