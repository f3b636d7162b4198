"""The playground: audio to text and text to audio, by requests that the browser makes with the visitor's own key."""

from starlette.responses import Response

from gateway.pages.offers import ROUTES, offers
from gateway.pages.visiting import Visit

# OpenAI's voices; others have their own.
VOICES = (
    "alloy",
    "ash",
    "ballad",
    "cedar",
    "coral",
    "echo",
    "fable",
    "marin",
    "nova",
    "onyx",
    "sage",
    "shimmer",
    "verse",
)
UNPLAYABLE = "pcm"  # bare samples, which no browser plays


async def get(visit: Visit) -> Response:
    """The page."""
    return visit.page(
        "playground.html",
        title="Playground",
        offers=offers(visit),
        formats=ROUTES["transcription"].formats,
        translated=ROUTES["translation"].formats,
        spoken=[value for value in ROUTES["speech"].formats if value != UNPLAYABLE],
        voices=VOICES,
        base=str(visit.request.base_url) + "v1",
        most=visit.site.config.uploads.max_bytes,
    )
