"""The door to /admin/: who has not shown the operator's token is read nothing of, who has is read little."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.types import Message

from gateway.errors import refuse
from gateway.policy.keys import check_admin

MOST_BYTES = 65_536


def guarded(token: str) -> type[APIRoute]:
    """Routes that ask for this token. Refused: 401 without it, 413 for a body of more than MOST_BYTES."""

    class Guarded(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            answer = super().get_route_handler()

            async def guard(request: Request) -> Response:
                check_admin(request.headers.getlist("authorization"), token)
                response = await answer(Request(request.scope, _replay(await _body(request))))
                response.headers["cache-control"] = "no-store"  # some answers hold a secret
                return response

            return guard

    return Guarded


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise refuse("too_large", limit=MOST_BYTES, got=len(body))
    return body


def _replay(body: bytes) -> Callable[[], Coroutine[Any, Any, Message]]:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
