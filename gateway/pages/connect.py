"""How applications are pointed at this gateway: the snippets of `gateway/connect`, filled in for the visitor."""

from collections.abc import Sequence

from starlette.responses import Response

from gateway.connect import snippets
from gateway.errors import refuse
from gateway.pages.offers import Offer, offers
from gateway.pages.visiting import Visit

KEY = "ag_YOUR_KEY"  # a script puts the real one in its place: of the same letters, so that no language minds


async def get(visit: Visit) -> Response:
    """The page. `transcribe` and `speak` in its query choose models. Raises Refused (400)."""
    found, base = offers(visit), f"{visit.request.base_url}v1"
    transcribe = _chosen(found.hearing, visit.asked("transcribe"))
    speak = _chosen(found.speaking, visit.asked("speak"))
    try:
        apps = snippets(base_url=base, key=KEY, transcribe=transcribe, speak=speak) if transcribe or speak else []
    except ValueError as error:
        raise refuse("bad_request", why="this page needs an address that can be pasted elsewhere") from error
    return visit.page(
        "connect.html",
        title="Connect",
        base=base,
        key=KEY,
        apps=apps,
        choices={"transcribe": (found.hearing, transcribe), "speak": (found.speaking, speak)},
        labels={"transcribe": "Audio to text", "speak": "Text to audio"},
    )


def _chosen(found: Sequence[Offer], asked: str) -> str | None:
    """The model that is asked for, or the first there is."""
    names = [one.name for one in found]
    return asked if asked in names else next(iter(names), None)
