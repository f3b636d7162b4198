"""Everything a caller can be told went wrong: the table (`rows.py`), and an answer from it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.errors.row import Row
from gateway.errors.rows import ROWS

__all__ = ("ROWS", "Refused", "Row", "SetupError", "refuse")


@dataclass(slots=True, eq=False)
class Refused(Exception):
    """An answer from the table: which row, its words, and what overrides the row.

    `retry_after` is in seconds; `headers` are sent besides the usual ones. Raised by doers, returned by deciders.
    """

    name: str
    words: Mapping[str, object] = field(default_factory=dict)
    param: str | None = None
    retry_after: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int | None = None
    type: str | None = None
    code: str | None = None

    @property
    def row(self) -> Row:
        """The row of the table, with what this refusal overrides put in."""
        row = ROWS[self.name]
        if self.status is None:
            return row
        return Row(self.status, self.type or row.type, self.code, row.message, row.param, row.retry)

    @property
    def message(self) -> str:
        """The sentence for the caller."""
        return self.row.message.format_map({"param": self.param, **self.words})

    def envelope(self) -> dict[str, dict[str, str | None]]:
        """OpenAI's error body: four keys, always all of them."""
        row = self.row
        return {
            "error": {
                "message": self.message,
                "type": row.type,
                "param": self.param if self.param is not None else row.param,
                "code": row.code,
            }
        }

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


def refuse(name: str, *, param: str | None = None, retry_after: float | None = None, **words: object) -> Refused:
    """A refusal from row `name`."""
    assert name in ROWS, f"no error named {name!r} in the table"
    return Refused(name, words, param=param, retry_after=retry_after)


class SetupError(Exception):
    """The gateway cannot start. The message is one sentence that names the remedy; commands print it and exit 1."""
