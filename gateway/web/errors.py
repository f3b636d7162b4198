"""The one place that renders an error: OpenAI's envelope, and the headers that SDKs act on."""

import json
import math

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from gateway.errors import Refused, refuse
from gateway.policy.retry import MAX_WAIT

Rendered = tuple[int, list[tuple[str, str]], bytes]


def rendered(refusal: Refused) -> Rendered:
    """Status, headers and body of a refusal.

    A wait longer than every SDK honours is told exactly, together with the word not to try again.
    """
    row = refusal.row
    retry, wait = row.retry, refusal.retry_after
    headers = {"content-type": "application/json"}
    if wait is not None:
        headers["retry-after"] = str(math.ceil(wait))
        headers["retry-after-ms"] = str(math.ceil(wait * 1000))
        if wait > MAX_WAIT:
            retry = "no"
    if retry != "sdk":
        headers["x-should-retry"] = "true" if retry == "yes" else "false"
    headers.update(refusal.headers)
    body = json.dumps(refusal.envelope(), ensure_ascii=False).encode(errors="replace")
    headers["content-length"] = str(len(body))
    return row.status, list(headers.items()), body


def response(refusal: Refused) -> Response:
    """A refusal as FastAPI answers it."""
    status, headers, body = rendered(refusal)
    return Response(body, status, dict(headers))


async def on_refused(request: Request, error: Exception) -> Response:
    """A refusal raised by an endpoint."""
    del request
    assert isinstance(error, Refused)
    return response(error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """What the router itself refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)
    name = "bad_method" if error.status_code == 405 else "no_route"
    return response(refuse(name, method=request.method, path=request.url.path))


async def on_invalid(request: Request, error: Exception) -> Response:
    """Parameters that FastAPI could not read."""
    del request
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return response(refuse("invalid", param=".".join(str(part) for part in first["loc"]), why=first["msg"]))


async def on_failure(request: Request, error: Exception) -> Response:
    """Anything nobody expected; the server logs it."""
    del request, error
    return response(refuse("internal"))
