"""`audiogate teams`: make, list, show and limit teams while the gateway serves."""

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
from gateway.config.asked import team_asked
from gateway.config.model import Config
from gateway.store.records import TeamRecord
from gateway.store.register import Register
from gateway.store.roll import Standing
from gateway.web.rows import TeamList, TeamShown, standing_rows, team_row, when

Timezone = Annotated[
    str | None, typer.Option("--timezone", help="Where its days and months begin, such as Asia/Shanghai.")
]


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    teams = typer.Typer(help="Teams: make, list, show, limit.", no_args_is_help=True)
    teams.command("create")(create)
    teams.command("list")(list_teams)
    teams.command("show")(show)
    teams.command("limit")(limit)
    app.add_typer(teams, name="teams")


def create(
    called: Called,
    *,
    models: Models = None,
    upstreams: Upstreams = None,
    limits: LimitWords = None,
    timezone: Timezone = None,
    note: Note = None,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Make a team."""
    asked: dict[str, object] = {"models": models, "upstreams": upstreams, "limits": read_limits(limits)}
    asked |= {"timezone": timezone, "note": note}

    async def work(register: Register, found: Config) -> TeamRecord:
        return await register.make_team(team_asked(called, asked, upstreams=found.upstream_limits))

    record = registered(config, work)
    print(team_row(record).model_dump_json(indent=2) if as_json else f"The team {called!r} was made.")


def list_teams(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List all teams."""
    found = registered(config, lambda register, _: register.roll.teams())
    if as_json:
        print(TeamList(data=[team_row(one) for one in found]).model_dump_json(indent=2))
        return
    rows = [(one.team.name, one.state, limits_word(one.team.limits), ORIGINS[one.origin]) for one in found]
    print_table(("name", "state", "limits", "from"), rows, nothing="There are no teams; the gateway makes `default`.")


def show(called: Called, config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show a team and where its limits stand."""

    async def work(register: Register, _: Config) -> tuple[TeamRecord, list[Standing]]:
        return await register.roll.team(called), await register.roll.team_standing(called)

    record, standing = registered(config, work)
    if as_json:
        print(TeamShown(**dict(team_row(record)), standing=standing_rows(standing)).model_dump_json(indent=2))
        return
    team = record.team
    facts = [
        ("name", team.name),
        ("state", record.state),
        ("models", names_word(team.models)),
        ("upstreams", names_word(team.upstreams)),
        ("time zone", team.timezone),
        ("note", team.note),
        ("created", when(record.made) or ""),
        ("from", ORIGINS[record.origin]),
    ]
    print_facts(facts)
    print_standing(standing, nothing="Nothing is limited.")


def limit(
    called: Called,
    limits: LimitWords = None,
    none: NoLimits = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Set the limits of a team: these and no others, from the next request on. What was used stays used."""
    rows = limits_asked(limits, none=none)

    async def work(register: Register, _: Config) -> TeamRecord:
        asked = team_asked(called, {"limits": rows}, upstreams=())
        return await register.change_team(called, lambda team: replace(team, limits=asked.limits), action="limit")

    record = registered(config, work)
    print(f"The team {called!r} has these limits: {limits_word(record.team.limits) or 'none'}.")
