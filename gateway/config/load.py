"""From the file to the values that the other rooms use: read, held against the schema, checked as a whole, built."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from gateway.config.check import DEFAULT_TEAM, check, prices_at, units, usable
from gateway.config.expand import variables
from gateway.config.model import Config, Key, Server, Store, Team, Telemetry, Timeouts, Uploads, Usage
from gateway.config.problem import ConfigError, Problem
from gateway.config.rows import CanRow, LimitRow, UpstreamRow
from gateway.config.schema import File, KeyRow, TeamRow
from gateway.config.shape import shape
from gateway.config.sight import sight
from gateway.config.source import LARGEST, Source, read
from gateway.policy.limits import Limit
from gateway.policy.routing import Market
from gateway.upstreams import KINDS
from gateway.upstreams.base import Capabilities, Upstream

__all__ = ["ConfigError", "Problem", "environment", "load"]


def environment() -> Mapping[str, str]:
    """The environment variables as they are now."""
    return dict(os.environ)  # noqa: TID251 - the one place; everything else is handed what it needs


def load(path: Path, environ: Mapping[str, str], *, serving: bool = True) -> Config:
    """The configuration in a file. Raises ConfigError with all that is wrong with it.

    Unless it is for `serving`, the keys of all upstreams may be missing.
    """
    before = sight(path)  # what comes to be different while it is read is another file
    file, source = read_rows(path, environ, serving=serving)
    return replace(_config(file, source), file=str(path), sight=before)


def read_rows(path: Path, environ: Mapping[str, str], *, serving: bool = True) -> tuple[File, Source]:
    """The same as it is written, with every default, and where each value stands. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        words = f"the file cannot be read ({error.strerror}); `audiogate init` writes one"
        raise ConfigError(path, [Problem("", words)]) from error
    source = read(content, environ)
    if not source.whole:
        raise ConfigError(path, source.problems)
    shaped = shape(source)
    told = {(problem.line, problem.column) for problem in source.problems}
    others = (
        *shaped.problems,
        *check(shaped, source, serving=serving),
    )  # what is said of a value that could not be read is no news
    problems = [*source.problems, *(problem for problem in others if (problem.line, problem.column) not in told)]
    if problems or shaped.file is None:
        raise ConfigError(path, problems)
    return shaped.file, source


def _config(file: File, source: Source) -> Config:
    rows = {name: row for name, row in file.upstreams.items() if usable(row)}
    teams = {name: team_of(name, row) for name, row in file.teams.items()}
    return Config(
        Server(**{**dict(file.server), "timeouts": Timeouts(**dict(file.server.timeouts))}),
        Store(**dict(file.store)),
        Uploads(**dict(file.uploads)),
        Market(
            tuple(_upstream(name, row) for name, row in rows.items()),
            {name: prices_at(row, file.prices) for name, row in rows.items()},
        ),
        teams={DEFAULT_TEAM: Team(DEFAULT_TEAM), **teams},
        keys={name: key_of(name, row) for name, row in file.keys.items()},
        upstream_limits={name: _limits(row.limits) for name, row in rows.items()},
        usage=Usage(**dict(file.usage)),
        telemetry=Telemetry(**dict(file.telemetry)),
        notes=tuple(_left_out(name, source) for name in file.upstreams if name not in rows),
    )


def _upstream(name: str, row: UpstreamRow) -> Upstream:
    kind = KINDS[row.kind]
    return Upstream(
        name,
        kind,
        row.base_url,
        row.models,
        _can(kind.can, row.can),
        key=row.key,
        priority=row.priority,
        weight=row.weight,
        connect_timeout=row.timeouts.connect,
        first_byte_timeout=row.timeouts.first_byte,
        idle_timeout=row.timeouts.idle,
        retry_timeouts=row.retry_timeouts,
        max_requests=row.max_requests,
        allow_private=row.allow_private,
        balance=kind.balance if row.balance is None else row.balance == "auto",
    )


def _can(can: Capabilities, row: CanRow) -> Capabilities:
    return replace(
        can,
        routes=frozenset(row.routes) or can.routes,
        formats=frozenset(row.formats) or can.formats,
        containers=frozenset(row.containers) or can.containers,
        stream=can.stream if row.stream is None else row.stream,
        chunked=can.chunked if row.chunked is None else row.chunked,
    )


def team_of(name: str, row: TeamRow) -> Team:
    """A team from its row."""
    return Team(name, row.models or None, row.upstreams or None, _limits(row.limits), row.note, row.timezone)


def key_of(name: str, row: KeyRow) -> Key:
    """A key from its row."""
    return Key(
        name,
        row.team,
        text=row.key or None,
        models=row.models or None,
        upstreams=row.upstreams or None,
        limits=_limits(row.limits),
        expires=row.expires,
        revoked=row.revoked,
        ips=row.ips or None,
        note=row.note,
        exact=row.exact,
    )


def _limits(rows: Iterable[LimitRow]) -> tuple[Limit, ...]:
    return tuple(Limit(row.measure, row.per, int(units(row)), row.burst) for row in rows)


def _left_out(name: str, source: Source) -> str:
    mark = source.mark(("upstreams", name, "key"))
    names = variables(mark.written) if mark else ()
    remedy = f"set {' and '.join(names)} to use it" if names else "write one to use it"
    return f"upstream {name} is left out because its key is empty; {remedy}"
