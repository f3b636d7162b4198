"""How a log line looks: one JSON object, or words for people."""

import json
import logging
import sys
from typing import Literal

REQUESTS = "audiogate.requests"


class JsonLines(logging.Formatter):
    """One JSON object a line. A request's line is its usage record."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; newlines in it are escaped, so a line is always one event."""
        if isinstance(record.args, dict) and record.name == REQUESTS:
            return json.dumps(record.args, ensure_ascii=False)
        line = {"level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class Words(logging.Formatter):
    """What a person wants to see of a request, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        if not (isinstance(record.args, dict) and record.name == REQUESTS):
            return f"{record.levelname.lower()}: {super().format(record)}"
        one = record.args
        amount = f"{one['characters']} characters" if one["characters"] else f"{one['audio_ms'] / 1000:.1f} s"
        return (
            f"{one['status']} {one['route']} {one['model'] or '-'} for {one['key_name'] or '-'} "
            f"at {one['upstream'] or '-'}: {amount}, ${one['cost_micro_usd'] / 1_000_000:.6f}, "
            f"{one['latency_ms']} ms{' ' + one['error'] if one['error'] else ''} ({one['id']})"
        )


def set_up(form: Literal["json", "text"]) -> None:
    """Log to standard output: requests and what goes wrong."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines() if form == "json" else Words())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("audiogate").setLevel(logging.INFO)
