"""Rules that need more than one value of the file: references, limits, prices, keys, at least one usable upstream."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from urllib.parse import urlsplit

from gateway.config.expand import variables
from gateway.config.problem import Place, Problem, meant
from gateway.config.rows import LimitRow, PriceRow, UpstreamRow
from gateway.config.schema import File
from gateway.config.shape import Shape
from gateway.config.source import Source
from gateway.config.values import MOST_USD
from gateway.errors import Refused
from gateway.policy.addresses import fault, literal, loopback
from gateway.policy.keys import parse
from gateway.policy.limits import MEASURES, RATES
from gateway.policy.openai_prices import PRICES
from gateway.policy.pricing import UNITS, Price, find, tariff, times

DEFAULT_TEAM = "default"
MOST_UNITS = 2**53  # what Lua's numbers hold exactly


def check(shaped: Shape, source: Source, *, serving: bool) -> Iterator[Problem]:
    """What is wrong with the whole of a file whose parts fit. Misfits are passed over.

    `serving`: whether an upstream has to be usable, and the operators' door shut.
    """
    file = shaped.file
    if file is None:
        return
    yield from _uploads(file, source)
    yield from _addresses(shaped, file, source)
    yield from _references(file, source)
    for place, limits in _all_limits(file):
        yield from _limits(limits, place, source)
    yield from _divisible(file, source)
    yield from _keys(file, source)
    if ("prices",) not in shaped.misfits:
        for name, row in file.upstreams.items():
            if ("upstreams", name) not in shaped.misfits:
                yield from _prices(name, row, file=file, source=source)
    if serving and not source.problems and not any(place[:1] == ("server",) for place in shaped.misfits):
        yield from _exposed(file, source)
    if serving and not source.problems and not any(place[:1] == ("upstreams",) for place in shaped.misfits):
        yield from _usable(file, source)


def prices_at(row: UpstreamRow, common: Mapping[str, PriceRow]) -> dict[str, Price]:
    """The prices at an upstream for `find`: its own rows first, then the file's common ones, then the shipped ones.

    The last two are list prices, which its `multiplier` makes what it bills.
    """
    own = {name: Price(**price.model_dump(), origin="own") for name, price in row.prices.items()}
    listed = tariff({name: Price(**price.model_dump(), origin="common") for name, price in common.items()}, PRICES)
    return tariff(own, {name: times(price, row.multiplier) for name, price in listed.items()})


def units(row: LimitRow) -> Decimal:
    """The amount of a limit in store units."""
    return row.amount * MEASURES[row.measure].scale


def usable(row: UpstreamRow) -> bool:
    """Whether requests can go to an upstream: an empty key means that this installation has no account there."""
    return row.key != ""


def exposed(host: str, *, admin_token: str) -> str:
    """What is wrong with listening there; "" if nothing is. Where others can come from, operators need their token."""
    if admin_token or loopback(literal(host)):
        return ""
    return (
        f"{host} lets others in, and server.admin_token is empty: set it (AUDIOGATE_ADMIN_TOKEN), for instance to what "
        "`openssl rand -hex 32` prints, or listen on 127.0.0.1"
    )


def _exposed(file: File, source: Source) -> Iterator[Problem]:
    if words := exposed(file.server.host, admin_token=file.server.admin_token):
        yield source.problem(("server", "host"), words)


def _addresses(shaped: Shape, file: File, source: Source) -> Iterator[Problem]:
    """What can be told without asking a resolver; what a name means is looked at with every connection."""
    for name, row in file.upstreams.items():
        host = urlsplit(row.base_url).hostname or ""
        address = literal(host)
        why = fault(address, allow_private=row.allow_private) if address else ""
        if why and ("upstreams", name) not in shaped.misfits:
            yield source.problem(("upstreams", name, "base_url"), f"the address {host} is {why}")


def _uploads(file: File, source: Source) -> Iterator[Problem]:
    most, total = file.uploads.max_bytes, file.uploads.total_bytes
    if total < most:
        place = ("uploads", "total_bytes")
        yield source.problem(place, f"expected at least max_bytes ({most} bytes), got {total} bytes")


def _references(file: File, source: Source) -> Iterator[Problem]:
    teams = {DEFAULT_TEAM: None, **dict.fromkeys(file.teams)}
    for name, key in file.keys.items():
        if key.team not in teams:
            message = f"no team is called '{key.team}'{meant(key.team, teams)}"
            yield source.problem(("keys", name, "team"), message)
    for section, rows in (("teams", file.teams), ("keys", file.keys)):
        for name, row in rows.items():
            for index, upstream in enumerate(row.upstreams):
                if upstream not in file.upstreams:
                    message = f"no upstream is called '{upstream}'{meant(upstream, file.upstreams)}"
                    yield source.problem((section, name, "upstreams", index), message)


def _all_limits(file: File) -> Iterator[tuple[Place, Sequence[LimitRow]]]:
    for section, rows in (("upstreams", file.upstreams), ("teams", file.teams), ("keys", file.keys)):
        for name, row in rows.items():
            yield (section, name, "limits"), row.limits


def _divisible(file: File, source: Source) -> Iterator[Problem]:
    """Rates and requests at once of an upstream are divided between the shards: each needs one at least."""
    for name, row in file.upstreams.items():
        for index, limit in enumerate(row.limits):
            pair = (limit.measure, limit.per)
            if pair not in RATES and limit.per:
                continue
            for part, amount in (("amount", limit.amount), ("burst", limit.burst or file.store.shards)):
                if amount < file.store.shards:
                    place = ("upstreams", name, "limits", index, part)
                    yield source.problem(place, f"expected at least {file.store.shards}, one for each of store.shards")


def limit_faults(limits: Sequence[LimitRow]) -> Iterator[tuple[int, str, str]]:
    """What is wrong in a list of limits that fit one by one: which one, which part of it, and a sentence."""
    seen: set[tuple[str, str]] = set()
    for index, limit in enumerate(limits):
        pair, windowed = (limit.measure, limit.per), MEASURES[limit.measure].windowed
        if windowed and not limit.per:
            yield index, "per", f"this is missing: {limit.measure} are counted per period"
        elif limit.per and not windowed:
            yield index, "per", f"expected no period: {limit.measure} is what goes on at one time"
        elif pair in seen:
            words = f"{limit.measure} per {limit.per}" if limit.per else limit.measure
            yield index, "measure", f"{words} is limited twice in this list; write it once"
        seen.add(pair)
        if limit.burst and ((limit.measure, limit.per) not in RATES or limit.burst > limit.amount):
            yield index, "burst", "expected it with requests per minute or hour alone, and at most the amount"
        if fault := _fault(limit):
            yield index, "amount", f"expected {fault}"


def _limits(limits: Sequence[LimitRow], place: Place, source: Source) -> Iterator[Problem]:
    for index, part, words in limit_faults(limits):
        at = (*place, index, part)
        mark = source.mark(at)
        got = f", got {mark.shown if mark else limits[index].amount}" if part == "amount" else ""
        yield source.problem(at, words + got)


def _fault(limit: LimitRow) -> str:
    """What is wrong with a limit's amount, as what is expected instead; "" if nothing is."""
    scale, amount = MEASURES[limit.measure].scale, units(limit)
    if amount == 0:
        return "more than 0"
    if amount > MOST_UNITS:
        return f"at most {Decimal(MOST_UNITS) / scale}"
    if amount != amount.to_integral_value():
        decimals = len(str(scale)) - 1
        return f"at most {decimals} decimals" if decimals else "a whole number"
    return ""


def _keys(file: File, source: Source) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for name, row in file.keys.items():
        place = ("keys", name, "key")
        if not row.key:
            continue
        try:
            kid = parse(row.key).kid
        except Refused:
            message = "expected a key that audiogate made (ag_…), got a mistyped or a foreign one; empty: one is made"
            yield source.problem(place, message)
            continue
        if kid in owners:
            yield source.problem(place, f"this has the same id as keys.{owners[kid]}.key; every key needs its own")
        owners.setdefault(kid, name)


def _prices(name: str, row: UpstreamRow, *, file: File, source: Source) -> Iterator[Problem]:
    prices = prices_at(row, file.prices)
    written = source.at(("upstreams", name, "models"))
    for model in row.models:
        if find(prices, model) is None:
            part = written.index(model) if isinstance(written, list) else model
            message = f"'{model}' has no price; write one under prices (for instance per_minute), or '{model}: free'"
            yield source.problem(("upstreams", name, "models", part), message)
    dear = [model for model, price in prices.items() if any(getattr(price, unit) > MOST_USD for unit in UNITS)]
    if dear:
        message = f"expected a smaller one: it makes '{dear[0]}' cost more than {MOST_USD} US dollars a unit"
        yield source.problem(("upstreams", name, "multiplier"), message)


def _usable(file: File, source: Source) -> Iterator[Problem]:
    if any(usable(row) for row in file.upstreams.values()):
        return
    marks = (source.mark(("upstreams", name, "key")) for name in file.upstreams)
    names = dict.fromkeys(name for mark in marks if mark for name in variables(mark.written))
    remedy = f"set {' or '.join(names)}" if names else "write one under `key`"
    yield source.problem(("upstreams",), f"no upstream has a key; {remedy}")
