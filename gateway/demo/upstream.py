"""An OpenAI-shaped audio server with offline engines: what the gateway talks to where nobody has an account.

`python -m gateway.demo.upstream --port 0` prints `listening http://127.0.0.1:PORT` once it does, and serves until
SIGTERM or SIGINT.
"""

import argparse
import secrets
import signal
import socket
import sys
from collections.abc import Awaitable, Callable

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.demo.asked import HEARING, SPEAKING, VOICES
from gateway.demo.audio import Audio
from gateway.demo.engines import Engines
from gateway.demo.problems import Problem, from_framework, no_model
from gateway.errors import SetupError

Endpoint = Callable[[Request], Awaitable[Response]]

_CREATED = 1_700_000_000  # every model's birthday
_SHUTDOWN = 5  # seconds that running requests get after SIGTERM


def create_upstream(*, key: str | None, engines: Engines | None = None) -> Starlette:
    """The server as an ASGI application. With a `key`, callers must send it as their bearer token.

    Raises `SetupError` where no `engines` are given and this machine has none.
    """
    audio = Audio(engines or Engines())
    routes = [
        Route("/healthz", audio.health),
        Route("/v1/models", _guarded(_models, key=key)),
        Route("/v1/models/{model}", _guarded(_model, key=key)),
        Route("/v1/audio/voices", _guarded(_voices, key=key)),
        Route("/v1/audio/transcriptions", _guarded(audio.transcriptions, key=key), methods=["POST"]),
        Route("/v1/audio/translations", _guarded(audio.translations, key=key), methods=["POST"]),
        Route("/v1/audio/speech", _guarded(audio.speech, key=key), methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _refused, Problem: _refused})


def _guarded(endpoint: Endpoint, *, key: str | None) -> Endpoint:
    async def answer(request: Request) -> Response:
        if key is not None:
            _check(request.headers.get("authorization", ""), key)
        return _numbered(await endpoint(request))

    return answer


def _check(authorization: str, key: str) -> None:
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        raise Problem(401, "You didn't provide an API key. Send it as: Authorization: Bearer YOUR_KEY.")
    if not secrets.compare_digest(given.strip().encode(), key.encode()):
        raise Problem(401, "Incorrect API key provided to the demo upstream.", code="invalid_api_key")


def _numbered(response: Response) -> Response:
    response.headers["x-request-id"] = f"req_{secrets.token_hex(16)}"
    return response


async def _refused(request: Request, raised: Exception) -> Response:
    problem = from_framework(request, raised) if isinstance(raised, HTTPException) else raised
    assert isinstance(problem, Problem)
    return _numbered(problem.response())


async def _models(_request: Request) -> Response:
    return JSONResponse({"object": "list", "data": [_described(name) for name in (*HEARING, *SPEAKING)]})


async def _model(request: Request) -> Response:
    name = request.path_params["model"]
    if name not in (*HEARING, *SPEAKING):
        raise no_model(name)
    return JSONResponse(_described(name))


def _described(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "demo"}


async def _voices(_request: Request) -> Response:
    """In OpenAI's list shape under `data`, and in the shape that chat front ends read under `voices`."""
    voices = [{"id": name, "object": "audio.voice", "name": name.capitalize()} for name in VOICES]
    return JSONResponse({"object": "list", "data": voices, "voices": voices})


class _Announced(uvicorn.Server):
    """Says where it listens, once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"listening http://{shown}:{port}", flush=True)


def _stop(*_: object) -> None:
    sys.exit(0)


def main() -> None:
    """The command: serves until SIGTERM or SIGINT, then exits 0; exits 1 where no engine is installed."""
    parser = argparse.ArgumentParser(prog="python -m gateway.demo.upstream", description="An offline audio upstream.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--key", default=None, help="what callers must send as their bearer token")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)  # uvicorn raises them again once it has shut down
    try:
        app = create_upstream(key=options.key)
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        listener = socket.create_server((options.host, options.port), family=family)
    except (SetupError, OSError) as reason:
        sys.exit(f"demo upstream: {reason}")
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=_SHUTDOWN)
    _Announced(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
