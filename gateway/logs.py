"""How a log line looks: one JSON object, or words for people. A request's line is its usage record."""

import asyncio
import json
import logging
import select
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal

Written = Mapping[str, str | int]
_ATOMIC = getattr(select, "PIPE_BUF", 512)  # bytes that a pipe takes in one piece, whoever else writes to it


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; newlines in it are escaped, so a line is always one event."""
        line = {"level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class Words(logging.Formatter):
    """What a person wants to see, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return f"{record.levelname.lower()}: {super().format(record)}"


def words(one: Written) -> str:
    """What a person wants to see of a request."""
    amount = f"{one['characters']} characters" if one["characters"] else f"{int(one['audio_ms']) / 1000:.1f} s"
    return (
        f"{one['status']} {one['route']} {one['model'] or '-'} for {one['key_name'] or '-'} "
        f"at {one['upstream'] or '-'}: {amount}, ${int(one['cost_micro_usd']) / 1_000_000:.6f}, "
        f"{one['latency_ms']} ms{' ' + str(one['error']) if one['error'] else ''} ({one['id']})"
    )


class Requests:
    """The lines of requests, on standard output. `form`: how one looks, by its record and that as JSON; None: none."""

    def __init__(self) -> None:
        self.form: Callable[[Written, str], str] | None = None
        self._lines: list[str] = []

    def note(self, record: Written, text: str) -> None:
        """A request has ended: its line is written at once, with those of the same moment."""
        if self.form is not None:
            if not self._lines:
                asyncio.get_running_loop().call_soon(self._write)
            self._lines.append(self.form(record, text) + "\n")

    def _write(self) -> None:
        """In pieces that do not mix with what other processes write."""
        lines, self._lines = self._lines, []
        piece = ""
        for line in lines:
            if piece and len(piece) + len(line) > _ATOMIC:
                _out(piece)
                piece = ""
            piece += line
        _out(piece)


requests = Requests()


def set_up(form: Literal["json", "text"]) -> None:
    """Log to standard output: requests and what goes wrong."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines() if form == "json" else Words())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("audiogate").setLevel(logging.INFO)
    requests.form = (lambda _, text: text) if form == "json" else (lambda record, _: words(record))


def _out(text: str) -> None:
    with suppress(OSError):  # nobody reads it any more: requests go on
        sys.stdout.write(text)
        sys.stdout.flush()
