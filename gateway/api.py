"""Everything that FastAPI serves, put together: all routes but the audio path."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from gateway import __version__
from gateway.config.model import Config
from gateway.errors import Refused
from gateway.pages.places import lost, routes
from gateway.pages.site import Site
from gateway.parts import Parts
from gateway.store.books import Books
from gateway.store.connection import Connection
from gateway.store.history import History
from gateway.store.register import Register
from gateway.store.sessions import Sessions
from gateway.store.totals import Totals
from gateway.web import admin, errors, history, models, openapi, operations, standing, upstreams
from gateway.web.guard import Guard


def api(
    config: Config,
    parts: Parts,
    connection: Connection,
    records: History,
    *,
    pepper: bytes,
    clock: Callable[[], float],
    not_ready: Callable[[], Awaitable[str]],
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
) -> FastAPI:
    """The application under this configuration; it is cheap enough to be made anew for another one.

    `clock` gives seconds since 1970.
    """
    app = FastAPI(
        title="audiogate",
        version=__version__,
        description="OpenAI's audio API, one key per person, several aggregators behind it.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the address that it would redirect to is made of the Host header
        exception_handlers={
            Refused: errors.on_refused,
            RequestValidationError: errors.on_invalid,
            Exception: errors.on_failure,
        },
    )
    document = app.openapi
    app.openapi = lambda: app.openapi_schema or openapi.described(document())  # type: ignore[method-assign]
    app.include_router(models.router(parts))
    app.include_router(standing.router(parts, connection))
    server = config.server
    guard = Guard(admin_token=server.admin_token, metrics_token=server.metrics_token, clock=parts.clock)
    if server.admin_token:
        register = Register(connection, config, pepper=pepper, door="api")
        app.include_router(admin.router(register, guard=guard, upstreams=config.upstream_limits))
        books = Books(Totals(connection), records, register.roll)
        app.include_router(history.router(books, guard=guard, clock=clock))
        app.include_router(upstreams.router(parts, connection, guard=guard, clock=clock))
    visible = Register(connection, config, pepper=pepper, door="page")
    seen = Books(Totals(connection), records, visible.roll)
    site = Site(config, parts, connection, seen, visible, Sessions(connection), guard, clock)
    app.router.routes.extend(routes(site))
    app.add_exception_handler(HTTPException, lost(site, errors.on_http_error))
    app.include_router(operations.router(parts.metrics, guard=guard, not_ready=not_ready))
    return app
