"""new-api's channels as upstreams, and what else its tables hold as teams, keys and prices."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from gateway.config import values
from gateway.errors import SetupError
from gateway.imports import names
from gateway.imports.draft import Draft, KeyDraft, UpstreamDraft, fits, mapping, number, text, true
from gateway.imports.newapi_prices import prices, quota_unit
from gateway.imports.newapi_tokens import Tokens, accounts
from gateway.imports.newapi_types import ENABLED, OWN_HOSTS, STATUS, TYPES
from gateway.imports.prices import settle
from gateway.imports.sources import Tables

MOST_KEYS: Final = 100  # of one channel
LAST_PRIORITY: Final = 1000
# Of a channel: what is read here, what only tells how it fared, and why the rest is left out.
_READ = frozenset(
    ("id", "type", "key", "status", "name", "weight", "base_url", "models", "group", "model_mapping", "priority")
)
_TIMES = ("created_time", "test_time", "response_time", "balance_updated_time", "deleted_at")
_STATE = frozenset(
    (*_TIMES, "balance", "used_quota", "other_info", "test_model", "tag", "remark", "auto_ban", "other", "settings")
) | {"need_reconcile", "channel_info"}
_WHY: Mapping[str, str] = {
    "header_override": "audiogate sends headers of its own only",
    "param_override": "audiogate passes on what callers send",
    "status_code_mapping": "what an answer means is fixed for each kind of upstream",
    "setting": "settings of a channel, such as a proxy, have no counterpart",
    "openai_organization": "audiogate sends no OpenAI-Organization header; use a key that belongs to it",
}
Row = Mapping[str, object]


def convert(sources: Sequence[Tables]) -> Draft:
    """The draft that these tables make together. Raises SetupError where there is no channel among them."""
    rows = {
        name: [row for one in sources for row in one.get(name, ())]
        for name in ("channels", "tokens", "users", "options")
    }
    if not rows["channels"]:
        raise SetupError(
            "There are no channels in it; name new-api's database, or add the answer of GET /api/channel/."
        )
    draft = Draft("new-api")
    options = {text(row.get("key")): text(row.get("value")) for row in rows["options"]}
    prices(draft, options, _audio_models(rows["channels"]))
    groups: dict[str, tuple[str, ...]] = {}
    places = _places(rows["channels"])
    factor = _factor(rows["channels"])
    for row in rows["channels"]:
        for group in _channel(draft, row, places, factor):
            groups[group[0]] = (*groups.get(group[0], ()), group[1])
    words = "how channels fared, and what only new-api's own pages use"
    draft.say("left out", "channels: balances, times, tags, remarks, auto_ban, settings", words)
    unit = quota_unit(draft, options)
    tokens = Tokens(draft, accounts(draft, rows["users"], unit), groups, unit)
    for row in rows["tokens"]:
        tokens.add(row)
    if not draft.keys:
        draft.keys.append(KeyDraft("default", "default"))
        draft.say("to do", "tokens", "none was taken over: a key `default` is made; more with `audiogate keys create`")
    else:
        words = "our keys have another form: new ones are made, and shown, at the first start"
        draft.say("to do", "the tokens' texts", words)
    return draft


def _audio_models(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(model for row in rows for model in _models(row) if names.sounds(model)))


def _models(row: Row) -> list[str]:
    return [model for one in text(row.get("models")).split(",") if (model := one.strip())]


def _enabled(row: Row) -> bool:
    return number(row.get("status", ENABLED)) in (ENABLED, None) and not row.get("deleted_at")


def _places(rows: Sequence[Row]) -> dict[Decimal, int]:
    """Our priority (lower first) for each of new-api's (higher first)."""
    found = sorted({number(row.get("priority")) or Decimal(0) for row in rows if _enabled(row)}, reverse=True)
    return {priority: min(place, LAST_PRIORITY) for place, priority in enumerate(found, 1)}


def _factor(rows: Sequence[Row]) -> Decimal:
    """What weights are multiplied by, so that the largest is at most 1000."""
    most = max((number(row.get("weight")) or Decimal(0) for row in rows if _enabled(row)), default=Decimal(0))
    return min(Decimal(1), Decimal(1000) / most) if most > 0 else Decimal(1)


def _channel(draft: Draft, row: Row, places: Mapping[Decimal, int], factor: Decimal) -> list[tuple[str, str]]:
    """Make the upstreams of a channel; returns pairs of a group and an upstream that it may use."""
    what = f"channel {text(row.get('id'))} {text(row.get('name'))}".rstrip()
    base_url, why = _address(row)
    models = {model: _target(row, model) for model in _models(row) if names.sounds(model)}
    unfit = [name for pair in models.items() for name in pair if not fits(values.MODEL, name) or set(name) & set("*?[")]
    models = {name: target for name, target in models.items() if name not in unfit and target not in unfit}
    if not _enabled(row):
        why = STATUS.get(int(number(row.get("status")) or 0), "it is not enabled")
    elif not models:
        why = why or "it has no model whose name says that it is for audio"
    if why:
        draft.say("left out", what, why)
        return []
    others = [model for model in _models(row) if model not in models]
    if others:
        draft.say("left out", f"{what}: models", f"not for audio by their names: {', '.join(others)}")
    secrets = _keys(draft, what, row)
    made = [_upstream(draft, what, row, base_url=base_url, models=models, secret=secret) for secret in secrets]
    _rank(draft, what, row, made, places=places, factor=factor)
    _rest(draft, what, row)
    groups = [group for one in (text(row.get("group")) or "default").split(",") if (group := one.strip())]
    return [(group, upstream.name) for group in groups for upstream in made]


def _upstream(
    draft: Draft, what: str, row: Row, *, base_url: str, models: Mapping[str, str], secret: str
) -> UpstreamDraft:
    host = names.host_of(base_url)
    near = names.nearby(host)
    kind = "openai" if near or host in OWN_HOSTS else "newapi"
    taken = names.Names(one.name for one in draft.upstreams)
    name = taken.give(text(row.get("name")), f"channel-{len(draft.upstreams) + 1}")
    upstream = UpstreamDraft(name, kind, base_url.replace("$", "$$"), what, models=dict(models), allow_private=near)
    upstream.key = names.variable(draft, name, secret)
    draft.wanted[upstream.key] = f"the key of the upstream {name}"
    draft.add(upstream)
    renamed = [f"{model} is {target} there" for model, target in models.items() if model != target]
    told = ", ".join(renamed) or ", ".join(models)
    draft.say("taken", what, f"upstream {name}, kind {kind}, at {base_url}: {told}")
    if kind == "newapi":
        draft.say(
            "changed", f"{what}: type", "taken for an aggregator; write `kind: openai` if it is a server of its own"
        )
    remedy = f"set {upstream.key} to it" + (", or use --env-file" if secret else ": the API does not tell it")
    draft.say("to do", f"{what}: key", f"not written out: {remedy}")
    if near:
        draft.say("changed", f"{what}: base_url", "it looks like a private address, so it got allow_private: true")
    for model in models:
        settle(draft, upstream, model, None, f"{what}: {model}")
    return upstream


def _address(row: Row) -> tuple[str, str]:
    """The base URL with /v1, or why there is none."""
    found = number(row.get("type"))
    kind = TYPES.get(int(found)) if found is not None else None
    if kind is None or not kind.speaks:
        return (
            "",
            f"channels of the type {kind.name if kind else text(row.get('type')) or '?'} have an API of their own",
        )
    address = (text(row.get("base_url")) or kind.address).rstrip("/")
    if not address:
        return "", "it has no address"
    address = address if address.endswith("/v1") else f"{address}/v1"
    host = names.host_of(address)
    if not fits(values.ADDRESS, address) or not host or names.forbidden(host):
        return "", "its address is none that an upstream may have: http(s)://host without user, query or '#'"
    return address, ""


def _target(row: Row, model: str) -> str:
    """What a channel calls a model; mappings may lead from one name to the next."""
    mapped = mapping(_object(row.get("model_mapping")))
    seen = {model}
    while (following := text(mapped.get(model))) and following not in seen:
        model = following
        seen.add(model)
    return model


def _object(value: object) -> object:
    """JSON in a text, as new-api keeps it; a value that is none is passed through."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _keys(draft: Draft, what: str, row: Row) -> list[str]:
    """The channel's keys that are enabled; one that nobody knows ("") where there is none."""
    info = mapping(_object(row.get("channel_info")))
    whole = text(row.get("key"))
    found = [whole]
    if true(info.get("is_multi_key")):
        parsed = _object(whole) if whole.startswith("[") else None
        found = [text(one) for one in parsed] if isinstance(parsed, list) else whole.split("\n")
        states = mapping(info.get("multi_key_status_list"))
        off = [str(index) for index in range(len(found)) if (number(states.get(str(index))) or ENABLED) != ENABLED]
        found = [one for index, one in enumerate(found) if str(index) not in off]
        if off:
            draft.say(
                "left out", f"{what}: key", f"of its keys, those with the numbers {', '.join(off)}: they are disabled"
            )
    good = [key for one in found if (key := one.strip()) and fits(values.SECRET, key)][:MOST_KEYS]
    if len(good) < len([one for one in found if one.strip()]):
        draft.say("left out", f"{what}: key", f"all but {len(good)}: not fit for a header, or more than {MOST_KEYS}")
    return good or [""]


def _rank(
    draft: Draft, what: str, row: Row, made: Sequence[UpstreamDraft], *, places: Mapping[Decimal, int], factor: Decimal
) -> None:
    priority, weight = number(row.get("priority")) or Decimal(0), number(row.get("weight")) or Decimal(0)
    for upstream in made:
        upstream.priority = places[priority]
        upstream.weight = max(1, int(weight * factor))
    if len(places) > 1:
        draft.say("taken", f"{what}: priority", f"{priority} (higher first) is {places[priority]} (lower first)")
    if weight and Decimal(made[0].weight) != weight:
        draft.say("changed", f"{what}: weight", f"{weight} is {made[0].weight}: from 1 to 1000, in proportion")
    elif weight:
        draft.say("taken", f"{what}: weight", f"{made[0].weight}")


def _rest(draft: Draft, what: str, row: Row) -> None:
    """What else stands there: named, never shown, as it may be a secret."""
    for field, value in row.items():
        if field not in _READ | _STATE and value not in (None, "", 0, False, "{}", "[]", "null"):
            draft.say("left out", f"{what}: {field}", _WHY.get(field, "it has no counterpart"))
