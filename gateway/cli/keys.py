"""`audiogate keys`: make, list, show, limit, rotate and revoke keys while the gateway serves."""

import sys
from dataclasses import replace
from typing import Annotated

import typer

from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.terms import (
    ORIGINS,
    Called,
    LimitWords,
    Models,
    NoLimits,
    Note,
    Upstreams,
    limits_asked,
    limits_word,
    names_word,
    print_facts,
    print_standing,
    print_table,
    read_limits,
    registered,
)
from gateway.config.asked import key_asked
from gateway.config.model import Config
from gateway.policy.terms import moment, read_span
from gateway.store.records import KeyRecord
from gateway.store.register import Made, Register
from gateway.store.roll import Standing
from gateway.web.rows import KeyList, KeyMade, KeyShown, key_row, standing_rows, when

Ips = Annotated[
    list[str] | None, typer.Option("--ip", help="An address or a network that it may be used from. Not given: any.")
]
Expires = Annotated[str | None, typer.Option("--expires", help="2027-01-01, or a time: from when on it is refused.")]
Exact = Annotated[bool, typer.Option("--exact", help="Measure each upload before it is let in; slower, but exact.")]
Overlap = Annotated[str, typer.Option("--overlap", help="So long the present text stays good: 24h, 15m, 0.")]


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    keys = typer.Typer(help="Keys: make, list, show, limit, rotate, revoke.", no_args_is_help=True)
    keys.command("create")(create)
    keys.command("list")(list_keys)
    keys.command("show")(show)
    keys.command("limit")(limit)
    keys.command("rotate")(rotate)
    keys.command("revoke")(revoke)
    app.add_typer(keys, name="keys")


def create(
    called: Called,
    *,
    team: Annotated[str, typer.Option(help="The team that it belongs to.")] = "default",
    models: Models = None,
    upstreams: Upstreams = None,
    limits: LimitWords = None,
    ips: Ips = None,
    expires: Expires = None,
    exact: Exact = False,
    note: Note = None,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Make a key. Its text is printed on standard output, only this once."""
    rows = read_limits(limits)
    asked: dict[str, object] = {"team": team, "models": models, "upstreams": upstreams, "limits": rows, "ips": ips}
    asked |= {"expires": expires, "exact": exact, "note": note}

    async def work(register: Register, found: Config) -> Made:
        return await register.make_key(key_asked(called, asked, upstreams=found.upstream_limits))

    _tell(registered(config, work), f"The key {called!r} was made.", as_json=as_json)


def list_keys(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List all keys, revoked ones too."""
    found = registered(config, lambda register, _: register.roll.keys())
    if as_json:
        print(KeyList(data=[key_row(one) for one in found]).model_dump_json(indent=2))
        return
    rows = [
        (one.key.name, one.key.team, one.shown, one.state, limits_word(one.key.limits), ORIGINS[one.origin])
        for one in found
    ]
    print_table(("name", "team", "key", "state", "limits", "from"), rows, nothing="There are no keys.")


def show(called: Called, config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show a key and where its limits, and those of its team, stand."""

    async def work(register: Register, _: Config) -> tuple[KeyRecord, list[Standing], list[Standing]]:
        record = await register.roll.key(called)
        shared = [] if as_json else await register.roll.team_standing(record.key.team)
        return record, await register.roll.key_standing(record), shared

    record, standing, shared = registered(config, work)
    if as_json:
        print(KeyShown(**dict(key_row(record)), standing=standing_rows(standing)).model_dump_json(indent=2))
        return
    key = record.key
    facts = [
        ("name", key.name),
        ("key", record.shown),
        ("team", key.team),
        ("state", record.state),
        ("models", names_word(key.models)),
        ("upstreams", names_word(key.upstreams)),
        ("ips", "any" if key.ips is None else ", ".join(key.ips)),
        ("expires", when(key.expires) or ""),
        ("exact", "yes" if key.exact else ""),
        ("old text", f"good until {moment(record.previous_until)}" if record.previous_until else ""),
        ("note", key.note),
        ("created", when(record.made) or ""),
        ("from", ORIGINS[record.origin]),
    ]
    print_facts(facts)
    print_standing(standing, nothing="The key itself is not limited." if shared else "Nothing is limited.")
    if shared:
        print(f"What its team {key.team!r} may use, all keys together:")
        print_standing(shared, nothing="")


def limit(
    called: Called,
    limits: LimitWords = None,
    none: NoLimits = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Set the limits of a key: these and no others, from the next request on. What was used stays used."""
    rows = limits_asked(limits, none=none)

    async def work(register: Register, _: Config) -> KeyRecord:
        asked = key_asked(called, {"limits": rows}, upstreams=())
        return await register.change_key(called, lambda key: replace(key, limits=asked.limits), action="limit")

    record = registered(config, work)
    print(f"The key {called!r} has these limits: {limits_word(record.key.limits) or 'none'}.")


def rotate(
    called: Called, overlap: Overlap = "24h", config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False
) -> None:
    """Give a key a new text, printed on standard output only this once. Its id, limits and usage stay."""
    try:
        seconds = read_span(overlap)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--overlap") from None
    made = registered(config, lambda register, _: register.rotate_key(called, overlap=seconds))
    until = made.record.previous_until
    ends = f"is good until {moment(until)}" if until is not None else "has ended"
    _tell(made, f"The key {called!r} has a new text; the old one {ends}.", as_json=as_json)


def revoke(called: Called, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """End a key for good: from its next request on, wherever that is served."""
    registered(config, lambda register, _: register.revoke_key(called))
    print(f"The key {called!r} is revoked.")


def _tell(made: Made, words: str, *, as_json: bool) -> None:
    """The key alone on standard output, so that it can be piped; the words beside it."""
    if as_json:
        print(KeyMade(**dict(key_row(made.record)), key=made.text).model_dump_json(indent=2))
        return
    print(f"{words} This is shown only once:", file=sys.stderr, flush=True)
    print(made.text)
