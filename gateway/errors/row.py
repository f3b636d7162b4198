"""One kind of error: HTTP status, OpenAI's `type` and `code`, the message, and what the SDK shall do next."""

from dataclasses import dataclass
from typing import Literal

Retry = Literal["sdk", "yes", "no"]
CALLER, SERVER = "invalid_request_error", "server_error"


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of error.

    `message` is a format string; `retry` is what `x-should-retry` says: "sdk" leaves it to the SDK's own table.
    """

    status: int
    type: str
    code: str | None
    message: str
    param: str | None = None
    retry: Retry = "sdk"
