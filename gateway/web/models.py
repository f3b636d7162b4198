"""GET /v1/models: what this key may use, in OpenAI's form."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel

from gateway.errors import refuse
from gateway.parts import Parts
from gateway.policy.keys import Caller, notice, read_key
from gateway.policy.routing import models_for
from gateway.web.guard import peer_of

CREATED = 1_735_689_600  # nobody knows when a model was made; a fixed date keeps answers the same on every replica


class Model(BaseModel):
    """A model, as OpenAI describes it."""

    id: str
    object: str = "model"
    created: int = CREATED
    owned_by: str = "audiogate"


class ModelList(BaseModel):
    """All models that a key may use."""

    object: str = "list"
    data: list[Model]


def caller_of(parts: Parts) -> Callable[[Request, Response], Awaitable[Caller]]:
    """Who asks, by their key; for routes that need nothing but a key."""

    async def caller(request: Request, answer: Response) -> Caller:
        presented = read_key(request.headers.getlist("authorization"))
        found = await parts.keys.holder(
            presented, now=request.scope["audiogate.began"], peer=peer_of(request), fresh=True
        )
        answer.headers.update(notice(found))
        return found

    return caller


def router(parts: Parts) -> APIRouter:
    """The two routes."""
    routes = APIRouter(prefix="/v1", tags=["Models"])
    caller = caller_of(parts)

    @routes.get("/models", operation_id="listModels", summary="List the models this key may use")
    async def list_models(who: Annotated[Caller, Depends(caller)]) -> ModelList:
        return ModelList(data=[Model(id=name) for name in models_for(who, parts.market)])

    @routes.get("/models/{model:path}", operation_id="retrieveModel", summary="One model")
    async def retrieve_model(model: str, who: Annotated[Caller, Depends(caller)]) -> Model:
        if model not in models_for(who, parts.market):
            raise refuse("no_model", model=model)
        return Model(id=model)

    return routes
