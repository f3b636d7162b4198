"""/admin/: keys and teams for operators' programs, behind the operator's token."""

from collections.abc import Collection
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path, Query

from gateway.config.asked import key_asked, team_asked
from gateway.config.model import Key, Team
from gateway.store.register import Register
from gateway.web.asked import Change, KeyChange, NewKey, NewTeam, Rotation, TeamChange
from gateway.web.guard import Guard, guarded
from gateway.web.rows import (
    DeedList,
    KeyList,
    KeyMade,
    KeyRow,
    KeyShown,
    TeamList,
    TeamRow,
    TeamShown,
    deed_row,
    key_row,
    standing_rows,
    team_row,
)

Called = Annotated[str, Path(alias="name", description="Its name.")]


def router(register: Register, *, guard: Guard, upstreams: Collection[str]) -> APIRouter:
    """All of it. `upstreams` are the names that keys and teams may be given."""
    routes = APIRouter(prefix="/admin", tags=["Admin"], route_class=guarded(guard))
    _keys(routes, register, upstreams)
    _teams(routes, register, upstreams)

    @routes.get("/audit", operation_id="listDeeds", summary="Who did what with keys and teams, the newest first")
    async def audit(
        limit: Annotated[int, Query(ge=1, le=1000, description="How many lines at most.")] = 100,
        before: Annotated[
            str, Query(pattern=r"^([0-9]{1,20}(-[0-9]{1,20})?)?$", description="The id of a line: those before it.")
        ] = "",
    ) -> DeedList:
        return DeedList(data=[deed_row(deed) for deed in await register.roll.audit(limit, before=before)])

    return routes


def _keys(routes: APIRouter, register: Register, upstreams: Collection[str]) -> None:
    roll = register.roll

    @routes.get("/keys", operation_id="listKeys", summary="All keys, revoked ones too")
    async def list_keys() -> KeyList:
        return KeyList(data=[key_row(record) for record in await roll.keys()])

    @routes.post("/keys", status_code=201, operation_id="createKey", summary="Make a key; its text is told only now")
    async def create_key(asked: NewKey) -> KeyMade:
        made = await register.make_key(key_asked(asked.name, _given(asked), upstreams=upstreams))
        return KeyMade(**dict(key_row(made.record)), key=made.text)

    @routes.get("/keys/{name}", operation_id="showKey", summary="One key and where its limits stand")
    async def show_key(called: Called) -> KeyShown:
        record = await roll.key(called)
        found = await roll.key_standing(record)
        return KeyShown(**dict(key_row(record)), standing=standing_rows(found))

    @routes.patch("/keys/{name}", operation_id="changeKey", summary="Change a key from its next request on")
    async def change_key(called: Called, asked: KeyChange) -> KeyRow:
        key = key_asked(called, _given(asked), upstreams=upstreams)
        fields = {field: getattr(key, field) for field in asked.model_fields_set}

        def change(now: Key) -> Key:
            return replace(now, **fields)

        return key_row(await register.change_key(called, change))

    @routes.post("/keys/{name}/rotate", operation_id="rotateKey", summary="Give a key a new secret, told only now")
    async def rotate_key(called: Called, asked: Rotation | None = None) -> KeyMade:
        made = await register.rotate_key(called, overlap=(asked or Rotation()).overlap_seconds)
        return KeyMade(**dict(key_row(made.record)), key=made.text)

    @routes.post("/keys/{name}/revoke", operation_id="revokeKey", summary="End a key for good")
    async def revoke_key(called: Called) -> KeyRow:
        return key_row(await register.revoke_key(called))


def _teams(routes: APIRouter, register: Register, upstreams: Collection[str]) -> None:
    roll = register.roll

    @routes.get("/teams", operation_id="listTeams", summary="All teams")
    async def list_teams() -> TeamList:
        return TeamList(data=[team_row(record) for record in await roll.teams()])

    @routes.post("/teams", status_code=201, operation_id="createTeam", summary="Make a team")
    async def create_team(asked: NewTeam) -> TeamRow:
        return team_row(await register.make_team(team_asked(asked.name, _given(asked), upstreams=upstreams)))

    @routes.get("/teams/{name}", operation_id="showTeam", summary="One team and where its limits stand")
    async def show_team(called: Called) -> TeamShown:
        record = await roll.team(called)
        found = await roll.team_standing(called)
        return TeamShown(**dict(team_row(record)), standing=standing_rows(found))

    @routes.patch("/teams/{name}", operation_id="changeTeam", summary="Change a team from the next request on")
    async def change_team(called: Called, asked: TeamChange) -> TeamRow:
        team = team_asked(called, _given(asked), upstreams=upstreams)
        fields = {field: getattr(team, field) for field in asked.model_fields_set}

        def change(now: Team) -> Team:
            return replace(now, **fields)

        return team_row(await register.change_team(called, change))


def _given(asked: Change) -> dict[str, object]:
    """The fields that were written, as the file would have them."""
    return asked.model_dump(exclude_unset=True, exclude={"name"})
