"""The table as a page of the documentation, with placeholders. Pure."""

from collections.abc import Iterator
from textwrap import fill

from gateway.connect.apps import App
from gateway.connect.table import snippets

WIDTH = 120
COMMAND = "python -m gateway.connect > docs/connect.md"
_HEAD = f"""\
<!-- Made by `{COMMAND}` from gateway/connect; do not edit it here. -->

# Connect applications

Put the address of your gateway, with `/v1`, in place of `https://audio.example.com/v1`, a key in place of `ag_...`
(`audiogate keys create NAME` makes one), and names from `GET /v1/models` in place of `whisper-1` and `tts-1`.

Anything that speaks OpenAI's audio API works the same way: it needs the base URL, the key and a model's name.
"""


def page() -> str:
    """The page's text."""
    apps = snippets(base_url="https://audio.example.com/v1", key="ag_...", transcribe="whisper-1", speak="tts-1")
    return "\n".join([_HEAD, *(line for app in apps for line in _section(app))])


def _section(app: App) -> Iterator[str]:
    yield f"## {app.title}\n\n{fill(app.note, WIDTH, break_long_words=False, break_on_hyphens=False)}\n"
    for block in app.blocks:
        language = "" if block.language == "text" else block.language
        yield f"{block.title}:\n\n```{language}\n{block.text.rstrip()}\n```\n"
