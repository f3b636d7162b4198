"""new-api's tokens as keys, and their owners, each in the group whose channels he may use, as teams."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from gateway.config import values
from gateway.imports import names
from gateway.imports.draft import Draft, KeyDraft, Limit, TeamDraft, fits, number, plain, text, true
from gateway.imports.names import Names
from gateway.imports.newapi_types import ENABLED, STATUS

MOST_USD: Final = Decimal(9_000_000_000)
DEFAULT: Final = "default"
AUTO: Final = "auto"  # any group
Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Account:
    """A user: the name, the group, what is left in US dollars, and why no key can be theirs ("" if they can)."""

    name: str
    group: str
    left: Decimal
    why: str = ""


def accounts(draft: Draft, rows: Sequence[Row], unit: Decimal) -> Mapping[int, Account]:
    """The users by their number."""
    found: dict[int, Account] = {}
    for row in rows:
        name, left = text(row.get("username")), (number(row.get("quota")) or Decimal(0)) / unit
        why = "" if _status(row) == ENABLED and not row.get("deleted_at") else "its user is disabled or deleted"
        if not why and left < Decimal("0.000001"):
            why = "nothing is left of its user's quota"
        account = Account(name, text(row.get("group")) or DEFAULT, left, why)
        found[_id(row, "id")] = account
        if why:
            draft.say("left out", f"user {name}", why.replace("its user", "the user"))
    if found:
        draft.say("left out", "users: roles, passwords, addresses", "audiogate has teams and keys, and nobody signs in")
    return found


@dataclass(slots=True)
class Tokens:
    """Makes keys of tokens, and a team of each owner and group among them.

    `groups` are the upstreams by the groups that may use them; `unit` is the quota of a US dollar.
    """

    draft: Draft
    people: Mapping[int, Account]
    groups: Mapping[str, tuple[str, ...]]
    unit: Decimal
    _teams: dict[tuple[int, str], str] = field(default_factory=dict)
    _keys: Names = field(default_factory=Names)
    _names: Names = field(default_factory=Names)

    def add(self, row: Row) -> None:
        """Make a key of a token, or say why there is none."""
        name, owner = text(row.get("name")), _id(row, "user_id")
        what = f"token {text(row.get('id'))} {name}".rstrip()
        account = self.people.get(owner)
        group = text(row.get("group")) or (account.group if account else DEFAULT)
        models, (ips, bad) = _models(row), _ips(row)
        why = _unusable(row, account, self.unit) or _unfit(models, ips, bad)
        if not why and group != AUTO and not self.groups.get(group):
            why = f"its group {group} has no channel that was taken over"
        if why:
            self.draft.say("left out", what, why)
            return
        if bad:
            self.draft.say("left out", f"{what}: allow_ips", f"these are no addresses: {', '.join(bad)}")
        key = KeyDraft(
            self._keys.give(name, f"token-{_id(row, 'id')}"),
            self._team(owner, account, group),
            models=tuple(models or ()),
            limits=_limit(self.draft, what, None if true(row.get("unlimited_quota")) else _left(row, self.unit)),
            expires=_expires(self.draft, what, row),
            ips=ips,
        )
        key.note = name if name != key.name and fits(values.NOTE, name) else ""
        self.draft.keys.append(key)
        self.draft.say("taken", what, f"key {key.name} of the team {key.team}{_told(key)}")
        _rest(self.draft, what, row)

    def _team(self, owner: int, account: Account | None, group: str) -> str:
        """The team of an owner in a group; each has one."""
        known = self._teams.get((owner, group))
        if known is not None:
            return known
        wish = account.name if account else f"user-{owner}"
        apart = group not in (account.group if account else DEFAULT, AUTO)
        name = self._teams[owner, group] = self._names.give(f"{wish}-{group}" if apart else wish, f"user-{owner}")
        about = f"user {account.name if account else owner}, group {group}"
        allowed = tuple(dict.fromkeys(self.groups.get(group, ())))
        everything = group == AUTO or len(allowed) == len(self.draft.upstreams)
        limits = _limit(self.draft, about, account.left if account else None)
        self.draft.teams.append(TeamDraft(name, about, () if everything else allowed, limits))
        self.draft.say("taken", about, f"team {name}, for {'all upstreams' if everything else ', '.join(allowed)}")
        if account is None:
            words = "users were not given, so the team has no limit: add the answer of GET /api/user/, or set one"
            self.draft.say("to do", about, words)
        elif apart:
            self.draft.say("changed", f"{about}: quota", "the whole of it is the limit of this team as well")
        return name


def _unfit(models: Sequence[str] | None, ips: Sequence[str], bad: Sequence[str]) -> str:
    if models is not None and not models:
        return "it may use no model whose name says that it is for audio"
    return "none of the addresses that it may be used from can be read" if bad and not ips else ""


def _rest(draft: Draft, what: str, row: Row) -> None:
    for name in ("cross_group_retry", "auto_groups", "billing_type"):
        if row.get(name) not in (None, "", 0, False, [], "[]"):
            draft.say("left out", f"{what}: {name}", "it has no counterpart")


def _unusable(row: Row, account: Account | None, unit: Decimal) -> str:
    if row.get("deleted_at") or row.get("DeletedAt"):
        return "it is deleted"
    if _status(row) != ENABLED:
        return STATUS.get(_status(row), "it is not enabled")
    if not true(row.get("unlimited_quota")) and _left(row, unit) < Decimal("0.000001"):
        return "nothing is left of its quota"
    return account.why if account else ""


def _limit(draft: Draft, what: str, left: Decimal | None) -> tuple[Limit, ...]:
    if left is None:
        return ()
    if left > MOST_USD:
        draft.say("changed", f"{what}: quota", "it is larger than any limit of ours: there is none")
        return ()
    draft.say("taken", f"{what}: quota", f"what is left of it is a limit: usd/total={plain(left)}")
    return (Limit("usd", "total", plain(left)),)


def _left(row: Row, unit: Decimal) -> Decimal:
    return (number(row.get("remain_quota")) or Decimal(0)) / unit


def _models(row: Row) -> list[str] | None:
    """The audio models that a token is restricted to; None if it is not."""
    if not true(row.get("model_limits_enabled")):
        return None
    found = [model for one in text(row.get("model_limits")).split(",") if (model := one.strip())]
    return [model for model in dict.fromkeys(found) if names.sounds(model) and fits(values.MODEL, model)]


def _ips(row: Row) -> tuple[tuple[str, ...], list[str]]:
    """The networks that a token may be used from, and what could not be read."""
    words = text(row.get("allow_ips")).replace(",", "\n").split()
    read = [(word, names.network(word)) for word in words]
    return tuple(dict.fromkeys(network for _, network in read if network)), [
        word for word, network in read if not network
    ]


def _expires(draft: Draft, what: str, row: Row) -> str:
    seconds = number(row.get("expired_time"))
    if seconds is None or seconds <= 0:
        return ""
    try:
        moment = datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        draft.say("left out", f"{what}: expired_time", "it is too far away to be a date")
        return ""
    return moment.isoformat().replace("+00:00", "Z")


def _told(key: KeyDraft) -> str:
    parts = [f"models {', '.join(key.models)}"] if key.models else []
    parts += [f"from {', '.join(key.ips)}"] if key.ips else []
    parts += [f"until {key.expires}"] if key.expires else []
    return f": {'; '.join(parts)}" if parts else ""


def _status(row: Row) -> int:
    return int(number(row.get("status", ENABLED)) or 0)


def _id(row: Row, field: str) -> int:
    return int(number(row.get(field)) or 0)
