"""The whole table, filled in for somebody. Pure."""

import json
import re
from collections.abc import Sequence

from gateway.connect.apps import VOICE, App, Row, Template, filled
from gateway.connect.products import PRODUCTS
from gateway.connect.programs import PROGRAMS

ROWS: Sequence[Row] = (*PROGRAMS, *PRODUCTS)
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.\-_:\[\]]+(/[A-Za-z0-9.\-_~/]*)?")


def snippets(*, base_url: str, key: str, transcribe: str | None, speak: str | None) -> Sequence[App]:
    """The applications that can be set up with these models; None: the gateway has none of the kind.

    `base_url` ends in /v1. Raises ValueError for an address or a text that nobody should paste anywhere: what is shown
    to a visitor may come from what the visitor sent.
    """
    if not _ADDRESS.fullmatch(base_url):
        raise ValueError("expected an address such as https://audio.example.com/v1")
    if not all(text.isprintable() for text in (key, transcribe or "", speak or "")):
        raise ValueError("expected printable texts")
    base_url = base_url.rstrip("/")
    facts = {
        "BASE_URL": base_url,
        "KEY": key,
        "TRANSCRIBE": transcribe or "",
        "SPEAK": speak or "",
        "VOICE": VOICE,
        "AUTHORIZATION": f"Bearer {key}",
        "BEARER": f"Authorization: Bearer {key}",
        "TRANSCRIPTIONS": f"{base_url}/audio/transcriptions",
        "SPEECH": json.dumps({"model": speak, "voice": VOICE, "input": "Hello!"}, ensure_ascii=False),
    }
    there = {"transcribe": transcribe is not None, "speak": speak is not None, "any": True}
    there["both"] = there["transcribe"] and there["speak"]
    found = []
    for row in ROWS:
        fit = [one for one in row.templates if there[one.needs]]
        if any(_tells(one) for one in fit):
            found.append(App(row.id, row.title, row.note, tuple(filled(one, facts) for one in fit)))
    return found


def _tells(template: Template) -> bool:
    """Whether a block is about this gateway, and not only about what has to be installed."""
    return "%" in template.text
