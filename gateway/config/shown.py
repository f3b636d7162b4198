"""What a configuration comes to, for people: every value with its default, and none of its secrets."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from pydantic import BaseModel

from gateway.config.check import DEFAULT_TEAM
from gateway.config.forms import FREE
from gateway.config.load import read_rows
from gateway.config.rows import CanRow, LimitRow, PriceRow, UpstreamRow
from gateway.config.schema import KeyRow, TeamRow
from gateway.policy.terms import moment
from gateway.upstreams import KINDS

HIDDEN = "•••"

Tree = Mapping[str, object]
"""Mappings, lists, texts, numbers, True, False and None: what YAML and JSON can hold."""


def shown(path: Path, environ: Mapping[str, str]) -> Tree:
    """The configuration in a file as it counts, section by section, in the words of the file.

    Defaults are filled in, `${…}` is replaced, and secrets are HIDDEN; an empty one is "". What was not written and has
    no default, such as the models of a key that may use all, is not there. With the secrets put in again, it is a file
    that means the same. Amounts are numbers, or texts where a number would not be exact; spans are seconds.

    An upstream without a key is shown, too, though nothing goes there. Raises ConfigError.
    """
    file, _ = read_rows(path, environ, serving=False)
    teams = {DEFAULT_TEAM: TeamRow(), **file.teams}
    upstreams = {name: _effective(row) for name, row in file.upstreams.items()}
    return _row(file.model_copy(update={"teams": teams, "upstreams": upstreams}))


def _effective(row: UpstreamRow) -> UpstreamRow:
    """An upstream with what it has from its kind."""
    kind = KINDS[row.kind]
    own = {name: value for name, value in row.can if value not in ((), None)}
    can = CanRow.model_construct(**{name: own.get(name, getattr(kind.can, name)) for name in CanRow.model_fields})
    return row.model_copy(update={"can": can, "balance": row.balance or ("auto" if kind.balance else "off")})


def _row(row: BaseModel) -> Tree:
    found: dict[str, object] = {}
    for name, field in type(row).model_fields.items():
        value = getattr(row, name)
        if value is None or (value == () and any(hasattr(rule, "min_length") for rule in field.metadata)):
            continue
        found[name] = (HIDDEN if value else "") if not field.repr else _plain(value)
    if isinstance(row, KeyRow) and row.expires is not None:
        found["expires"] = moment(row.expires)
    if isinstance(row, LimitRow):  # "" and 0 stand for what was not written
        found = {name: value for name, value in found.items() if value not in ("", 0)}
    return found


def _plain(value: object) -> object:
    if isinstance(value, PriceRow):
        return {unit: _plain(usd) for unit, usd in value if usd} or FREE
    if isinstance(value, BaseModel):
        return _row(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, frozenset):
        return sorted(map(str, value))
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Decimal | float):
        return _number(Decimal(value))
    return str(value) if isinstance(value, Path) else value


def _number(value: Decimal) -> int | float | str:
    if value == value.to_integral_value() and value < 2**53:
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else f"{value:f}"
