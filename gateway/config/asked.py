"""Keys and teams that are asked for through other doors than the file, held against the same rules."""

from collections.abc import Collection, Mapping
from typing import TypeVar

from pydantic import ValidationError

from gateway.config.check import limit_faults
from gateway.config.load import key_of, team_of
from gateway.config.model import Key, Team
from gateway.config.problem import dotted, meant, quoted
from gateway.config.schema import HolderRow, KeyRow, TeamRow
from gateway.config.values import NAME
from gateway.errors import Refused, refuse

R = TypeVar("R", bound=HolderRow)
_EXPECTED: Mapping[str, str] = {"too_short": "at least one entry", "tuple_type": "a list", "model_type": "a mapping"}


def key_asked(name: str, asked: Mapping[str, object], *, upstreams: Collection[str]) -> Key:
    """The key that is described by the fields of `keys.NAME` in the file; None means that a field is not there.

    `upstreams` are those that there are. Raises Refused (400) for what does not fit.
    """
    return key_of(_named(name), _row(KeyRow, asked, upstreams))


def team_asked(name: str, asked: Mapping[str, object], *, upstreams: Collection[str]) -> Team:
    """The same for a team."""
    return team_of(_named(name), _row(TeamRow, asked, upstreams))


def _named(name: str) -> str:
    try:
        return str(NAME.read(name))
    except ValueError:
        raise _unfit("name", f"expected {NAME.expected}, got {quoted(name)}") from None


def _row(kind: type[R], asked: Mapping[str, object], upstreams: Collection[str]) -> R:
    written = {field: _text(value) for field, value in asked.items() if value is not None}
    try:
        row = kind.model_validate(written)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        words = first.get("ctx", {})
        place = dotted(first["loc"])
        if first["type"] == "missing":
            raise _unfit(place, "this is missing") from None
        if first["type"] == "extra_forbidden":
            raise _unfit(place, "unknown key") from None
        expected = words.get("expected") or _EXPECTED.get(first["type"], "something else")
        got = f", got {quoted(str(words['text']))}" if "text" in words else ""
        raise _unfit(
            place, f"expected {expected}{got}{meant(str(words.get('text', '')), words.get('choices', ()))}"
        ) from None
    for index, part, sentence in limit_faults(row.limits):
        raise _unfit(f"limits[{index}].{part}", sentence)
    for index, upstream in enumerate(row.upstreams):
        if upstream not in upstreams:
            raise _unfit(f"upstreams[{index}]", f"no upstream is called '{upstream}'{meant(upstream, upstreams)}")
    return row


def _unfit(param: str, why: str) -> Refused:
    return refuse("invalid", param=param, why=why)


def _text(value: object) -> object:
    """Numbers as the file would have them: as texts."""
    if isinstance(value, Mapping):
        return {str(name): _text(one) for name, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [_text(one) for one in value]
    return str(value)
