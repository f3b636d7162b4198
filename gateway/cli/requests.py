"""`audiogate requests`: the records of single requests."""

import re
from typing import Annotated

import typer

from gateway.cli.books import console, table, with_books
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.usage_table import clock, dollars
from gateway.policy.exports import CURSOR
from gateway.policy.steps import read
from gateway.policy.terms import plain
from gateway.store.history import MOST_LISTED
from gateway.web.records import RequestList, RequestRow, request_row

ID = re.compile("req_[0-9a-f]{32}")


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    requests = typer.Typer(help="Requests: show one by its id, list the last ones.", no_args_is_help=True)
    requests.command("show")(show)
    requests.command("list")(list_requests)
    app.add_typer(requests, name="requests")


def show(
    rid: Annotated[str, typer.Argument(metavar="ID", help="Its id, as the header x-request-id told it: req_…")],
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Show the record of one request, and of its correction if it was settled late."""
    if not ID.fullmatch(rid):
        raise typer.BadParameter(f"expected req_ and 32 hexadecimal digits, got {rid!r}", param_hint="ID")
    rows = [request_row(one) for one in with_books(config, lambda books: books.request(rid))]
    if as_json:
        _print_json(rows)
        return
    for number, row in enumerate(rows):
        if number:
            print("\ncorrected by:\n")
        for name, value in row.model_dump(exclude_unset=True, exclude={"steps_ms"}).items():
            if value != "":
                print(f"{name + ':':20}{plain(str(value))}")
        _print_steps(row.steps_ms or "")


def list_requests(
    last: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 20,
    before: Annotated[str, typer.Option(help="A record's cursor: those before it.")] = "",
    config: ConfigPath = DEFAULT_CONFIG,
    *,
    key: Annotated[str, typer.Option(help="Only those of this key (its name or id).")] = "",
    team: Annotated[str, typer.Option(help="Only those of this team.")] = "",
    errors: Annotated[bool, typer.Option("--errors", help="Only those that failed.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the last requests that have ended, the newest first."""
    if before and not re.fullmatch(CURSOR, before):
        raise typer.BadParameter(f"expected a cursor such as 1767225600000-0, got {before!r}", param_hint="--before")
    found, following = with_books(
        config, lambda books: books.requests(last, before=before, key=key, team=team, errors=errors)
    )
    rows = [request_row(one) for one in found]
    if as_json:
        _print_json(rows, following)
        return
    _print_table(rows)
    if following and len(rows) < last:
        print(f"Only {MOST_LISTED:,} records were looked at; go on with --before {following}")


def _print_steps(text: str) -> None:
    """How long each step took, and each attempt where there was more than one."""
    for number, step in enumerate(read(text)):
        print(f"{'' if number else 'steps:':20}{step.name:14}{step.took_ms:12,.1f} ms")
        for one in step.attempts:
            print(f"{'':22}{one.took_ms:12,.1f} ms  {one.upstream}, {one.verdict}")


def _print_json(rows: list[RequestRow], following: str = "") -> None:
    found = RequestList(object="list", data=rows, next=following or None)
    print(found.model_dump_json(indent=2, exclude_unset=True))


def _print_table(rows: list[RequestRow]) -> None:
    if not rows:
        print("There are no such records.")
        return
    found = table()
    for name in ("time", "id", "key", "team", "model", "upstream"):
        found.add_column(name, overflow="fold", no_wrap=name in ("time", "id"))
    for name in ("status", "audio", "characters", "cost"):
        found.add_column(name, justify="right", no_wrap=True)
    found.add_column("error", overflow="fold")
    for row in rows:
        facts = (row.time, row.id, row.key_name or row.key, row.team, row.model, row.upstream)
        amounts = (clock(row.audio_ms or 0), f"{row.characters or 0:,}", dollars(row.cost_micro_usd or 0))
        found.add_row(*(plain(one or "") for one in facts), str(row.status or ""), *amounts, plain(row.error or ""))
    console().print(found)
