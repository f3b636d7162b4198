"""What machines ask: does it live, is it ready, what has it counted. No upstream calls, no details."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gateway.errors import refuse
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.web.errors import response
from gateway.web.guard import Guard


def router(metrics: Metrics, *, guard: Guard, not_ready: Callable[[], Awaitable[str]]) -> APIRouter:
    """The four routes. `not_ready` tells why no request should come here now, "" if all is well."""
    routes = APIRouter(tags=["Operations"])

    @routes.get("/livez", operation_id="livez", summary="The process runs")
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz", operation_id="readyz", summary="Requests can be served", response_model=dict[str, str])
    async def readyz() -> Response | dict[str, str]:
        why = await not_ready()
        return response(refuse("not_ready", why=why)) if why else {"status": "ok"}

    routes.add_api_route(
        "/healthz", readyz, operation_id="healthz", summary="The same as /readyz", response_model=dict[str, str]
    )

    @routes.get("/metrics", operation_id="metrics", summary="Numbers for Prometheus", response_class=Response)
    async def numbers(request: Request) -> Response:
        guard.counter(request)
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    return routes
