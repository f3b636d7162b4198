"""How an answer of the pages is made: templates, and headers that let a browser load nothing from elsewhere."""

import re
from collections.abc import Mapping
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from gateway import __version__
from gateway.pages import words
from gateway.pages.shelf import address

SAFE: Mapping[str, str] = {
    "content-security-policy": "default-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "referrer-policy": "same-origin",  # without any, forms would not tell their origin
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
}

# What nobody sees and what changes how others look: control characters, marks of direction, halves of characters.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("gateway.pages"),
        autoescape=True,
        finalize=_seen,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.globals.update(asset=address, version=__version__)
    found.filters.update(words.FILTERS)
    return found


def rendered(template: str, facts: Mapping[str, object], *, status: int = 200) -> Response:
    """A page from a template and what it shows; all of that is escaped."""
    return HTMLResponse(_templates().get_template(template).render(facts), status, SAFE)


def _seen(value: object) -> object:
    """Whatever a template shows, wherever that is from: a text has nothing in it that is not seen."""
    return _UNSEEN.sub("\ufffd", value) if type(value) is str else value
