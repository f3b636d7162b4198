"""How a log line looks: one JSON object, or words for people. A request's line is its usage record."""

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Literal, TextIO, cast

from gateway.stdout import ATOMIC, Out

Written = Mapping[str, str | int]


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; what is not ASCII is escaped, newlines too, so a line is always one event."""
        line = {"level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


class Words(logging.Formatter):
    """What a person wants to see, on one line; below it the trace of what nobody expected."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; what would move a terminal's cursor is escaped."""
        lines = [f"{record.levelname.lower()}: {record.getMessage()}"]
        if record.exc_info:
            lines += self.formatException(record.exc_info).splitlines()
        return "\n".join(map(_printable, lines))


def words(one: Written) -> str:
    """What a person wants to see of a request."""
    amount = f"{one['characters']} characters" if one["characters"] else f"{int(one['audio_ms']) / 1000:.1f} s"
    return _printable(
        f"{one['status']} {one['route']} {one['model'] or '-'} for {one['key_name'] or '-'} "
        f"at {one['upstream'] or '-'}: {amount}, ${int(one['cost_micro_usd']) / 1_000_000:.6f}, "
        f"{one['latency_ms']} ms{' ' + str(one['error']) if one['error'] else ''} ({one['id']})"
    )


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


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
            if piece and len(piece) + len(line) > ATOMIC:
                out.write(piece)
                piece = ""
            piece += line
        out.write(piece)


requests = Requests()
out = Out()


def set_up(form: Literal["json", "text"]) -> None:
    """Log to standard output: requests and what goes wrong. Nobody waits for it."""
    out.open(sys.stdout)
    handler = logging.StreamHandler(cast("TextIO", out))
    handler.setFormatter(JsonLines() if form == "json" else Words())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("audiogate").setLevel(logging.INFO)
    requests.form = (lambda _, text: text) if form == "json" else (lambda record, _: words(record))
