"""A stub upstream that has a wallet: other answers for other paths."""

import json
from typing import SupportsIndex

from tests.stub import Answer, Seen, Stub

TOKEN, STATUS = "/api/usage/token/", "/api/status"
SUBSCRIPTION, USAGE = "/v1/dashboard/billing/subscription", "/v1/dashboard/billing/usage"
MISSING = Answer(status=404, pieces=(b'{"error":{"message":"Invalid URL"}}',))


class ByPath(list[Answer]):
    """The answers of a stub where paths matter: `pages` by path, MISSING below these, and one answer to all else."""

    def __init__(self, one: Stub) -> None:
        super().__init__(one.answers[-1:])
        self.pages: dict[str, Answer] = {}
        self._seen = one.seen

    def __getitem__(self, index: SupportsIndex | slice) -> Answer:  # type: ignore[override]
        path = self._seen[-1].target
        if path in self.pages:
            return self.pages[path]
        if path.startswith(("/api/", "/v1/dashboard/")):
            return MISSING
        return super().__getitem__(0)


def with_wallet(one: Stub, *, usd: float | None = None) -> ByPath:
    """Give a stub a wallet with so much in it."""
    one.answers = answers = ByPath(one)
    if usd is not None:
        fill(answers, usd)
    return answers


def fill(answers: ByPath, usd: float) -> None:
    """So much is in the wallet from now on."""
    answers.pages[TOKEN] = page({"code": True, "data": {"total_available": usd * 500_000, "unlimited_quota": False}})
    answers.pages[STATUS] = page({"success": True, "data": {"quota_per_unit": 500_000}})


def page(found: object, **more: object) -> Answer:
    """A page of JSON."""
    return Answer(pieces=(json.dumps(found).encode(),), **more)  # type: ignore[arg-type]


def looks(one: Stub) -> list[Seen]:
    """How often the wallet was looked at."""
    return [seen for seen in one.seen if seen.target == TOKEN]
