"""The one time that the text of a key is shown, with what is to be done with it."""

from starlette.responses import Response

from gateway.pages.visiting import Visit
from gateway.store.register import Made


def shown_once(visit: Visit, made: Made, title: str) -> Response:
    """The page; nothing keeps the text, not even a browser's cache."""
    url = visit.request.url
    found = visit.page(
        "secret.html",
        status=201,
        title=title,
        text=made.text,
        record=made.record,
        base_url=f"{url.scheme}://{url.netloc}/v1",
    )
    found.headers["cache-control"] = "no-store"
    return found
