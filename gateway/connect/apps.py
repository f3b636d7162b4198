"""An application, what is pasted into it, and how a template is filled in: as its language writes a text. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Needs = Literal["transcribe", "speak", "both", "any"]
VOICE = "alloy"
VOICES = "alloy,echo,fable,onyx,nova,shimmer"
_TOKEN = re.compile(r"%([A-Z_]+)%")
_BARE = re.compile(r"[A-Za-z0-9_@+:,./-]+")


@dataclass(frozen=True, slots=True)
class Block:
    """Something to paste or to type: what it is for, its language (for highlighting; "text" is a list of fields)."""

    title: str
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class App:
    """An application with what is pasted into it, in order. `note` is what one has to know besides."""

    id: str
    title: str
    note: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A block to be filled in. Tokens such as %BASE_URL% stand where the language has a text, quotes included.

    `needs` says which models have to be there; without them the block is left out.
    """

    title: str
    language: str
    text: str
    needs: Needs = "any"


@dataclass(frozen=True, slots=True)
class Row:
    """An application as the table has it."""

    id: str
    title: str
    note: str
    templates: tuple[Template, ...]


def filled(template: Template, facts: Mapping[str, str]) -> Block:
    """A template with its facts, each written as a text of its language."""

    def write(found: re.Match[str]) -> str:
        return literal(facts[found[1]], template.language)

    return Block(template.title, template.language, _TOKEN.sub(write, template.text))


def literal(text: str, language: str) -> str:
    """A text as a language writes it, so that nothing in it is taken for anything else."""
    if language == "text":
        return text
    if language == "sh":
        return text if _BARE.fullmatch(text) else "'" + text.replace("'", "'\\''") + "'"
    return json.dumps(text, ensure_ascii=False)
