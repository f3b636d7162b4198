"""GET /v1/usage: where the limits of a key and of its team stand, for whoever holds the key."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from gateway.parts import Parts
from gateway.policy.keys import Caller
from gateway.store.connection import Connection
from gateway.store.roll import standings
from gateway.web.models import caller_of
from gateway.web.rows import StandingRow, standing_rows


class Holding(BaseModel):
    """A key or a team by name, and its limits."""

    name: str
    limits: list[StandingRow] = Field(description="Empty: nothing is limited.")


class UsageNow(BaseModel):
    """What a key has used of what it may use."""

    object: str = "usage"
    key: Holding
    team: Holding = Field(description="What all keys of the team used together.")


def router(parts: Parts, connection: Connection) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/v1", tags=["Usage"])

    @routes.get("/usage", operation_id="showUsage", summary="Where the limits of this key and its team stand")
    async def usage(who: Annotated[Caller, Depends(caller_of(parts))]) -> UsageNow:
        team, key = await standings(connection, who.team, kid=who.kid)
        return UsageNow(
            key=Holding(name=who.name, limits=standing_rows(key)),
            team=Holding(name=who.team, limits=standing_rows(team)),
        )

    return routes
