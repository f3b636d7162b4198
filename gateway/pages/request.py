"""One request: what is known of it, what it cost and why, and where its time went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

from starlette.responses import Response

from gateway.errors import ROWS
from gateway.pages import words
from gateway.pages.requests import ID, whole
from gateway.pages.timeline import spent, timeline
from gateway.pages.visiting import Visit
from gateway.policy.exports import row_of
from gateway.policy.terms import plain
from gateway.store.stream import Record

SOURCES: Mapping[str, str] = {
    "upstream": "The upstream's answer said so.",
    "packets": "Counted in the audio that was uploaded.",
    "input": "Counted in the text that was sent.",
    "estimate": "Estimated, rather too high than too low: nothing else was to be had.",
    "none": "Nothing is charged.",
}
DISPUTED = "Two sources differed by more than 5 %; the larger amount counts."
ERRORS: Mapping[str, str] = {
    "expired": "Its gateway ended before the request did, and did not come back in time. What is then charged is said "
    "by store.on_expired.",
    "unsettled": "Its gateway ended before the request did, and did not come back in time. Nothing was charged; an "
    "operator has to see to it (store.on_expired: mark).",
    "upstream_said": "The upstream found something wrong with the request itself, and its answer was passed on.",
}
ANSWERED = "The answer told the caller why; its words are not kept."


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of what is known; `path` is the page that has more of it, `code` whether it is for machines."""

    name: str
    text: str
    path: str = ""
    code: bool = False


async def get(visit: Visit) -> Response:
    """The page. Raises Refused: 404, the same for what others sent; 503."""
    books, rid = visit.site.books, visit.name
    if not ID.fullmatch(rid):
        raise books.history.none(plain(rid))
    records = await books.request(rid, kid=visit.who.kid)
    one = records[-1].fields
    row = row_of(records[-1].cursor, one)
    status = whole(row, "status")
    return visit.page(
        "request.html",
        title="Request",
        rid=rid,
        time=str(row["time"]),
        answered=status,
        why=_why(one.get("error", ""), status),
        error=one.get("error", ""),
        what=_what(visit, one, await _key(visit, one)),
        amounts=_amounts(visit, one, row),
        steps=timeline(one),
        corrected=[_corrected(pair) for pair in pairwise(records)],
    )


async def _key(visit: Visit, one: Mapping[str, str]) -> str:
    """The name of its key; records of requests that nobody came back for have the id alone."""
    kid = one.get("key", "")
    if visit.who.caller is not None:
        return visit.who.caller.name
    return one.get("key_name") or (await visit.site.books.totals.key_names()).get(kid, kid)


def _what(visit: Visit, one: Mapping[str, str], key: str) -> list[Fact]:
    team, operator = one.get("team", ""), visit.who.operator
    model, sent = one.get("model", ""), one.get("model_sent", "")
    found = [
        Fact("Key", key, f"/keys/{key}" if operator else ""),
        Fact("Team", team, f"/teams/{team}" if operator else ""),
        Fact("Route", one.get("route", "")),
        Fact("Sent to", f"{one.get('method', '')} {one.get('path', '')}".strip(), code=True),
        Fact("Model", model if sent in ("", model) else f"{model} (there: {sent})"),
        Fact("Upstream", one.get("upstream", ""), "/upstreams" if operator else ""),
        Fact("Its id there", one.get("upstream_request", "") if operator else "", code=True),
        Fact("Ended in", one.get("step", "")),
    ]
    return [fact for fact in found if fact.text]


def _amounts(visit: Visit, one: Mapping[str, str], row: Mapping[str, str | int]) -> list[Fact]:
    source, tokens = one.get("source", ""), (whole(row, "input_tokens"), whole(row, "output_tokens"))
    found = [
        Fact("Cost", words.exact(whole(row, "cost_micro_usd"))),
        Fact("Used", words.used(whole(row, "audio_ms"), whole(row, "characters"))),
        Fact("Tokens", f"{words.count(tokens[0])} in, {words.count(tokens[1])} out" if any(tokens) else ""),
        Fact("From", " ".join([SOURCES.get(source, source), *([DISPUTED] if whole(row, "disputed") else [])]).strip()),
        Fact("Was reserved", words.exact(whole(row, "reserved_micro_usd")) if "reserved_micro_usd" in row else ""),
        Fact("Bytes", f"{words.bytes_(whole(row, 'bytes_in'))} in, {words.bytes_(whole(row, 'bytes_out'))} out"),
        Fact("Attempts", one.get("attempts", "")),
    ]
    if visit.who.operator:
        failed = "; ".join(f"{name}, {how}{f', {words.exact(usd)}' if usd else ''}" for name, how, usd in spent(one))
        found.insert(1, Fact("Paid to upstreams", words.exact(whole(row, "upstream_micro_usd"))))
        found.append(Fact("Failed attempts", failed))
    return [fact for fact in found if fact.text]


def _corrected(pair: Sequence[Record]) -> str:
    """A sentence on what became of a record when the next one took it back."""
    before, after = (row_of(one.cursor, one.fields) for one in pair)
    closed, cost = str(before.get("error") or "closed"), words.exact(whole(before, "cost_micro_usd"))
    taken, now = words.exact(whole(after, "takes_back")), words.exact(whole(after, "cost_micro_usd"))
    return (
        f"This request was first recorded as {plain(closed)}, at {cost}. Its gateway came back and settled it "
        f"after all: {taken} were taken back and {now} charged."
    )


def _why(error: str, status: int) -> str:
    """What an error means, "" if there was none."""
    if not error:
        return ANSWERED if status >= 400 else ""
    if error in ERRORS:
        return ERRORS[error]
    row = ROWS.get(error)
    if row is None:
        return "The gateway could not go on; its log has more under this id."
    known = ". ".join(takewhile(lambda one: "{" not in one, row.message.split(". "))).rstrip(".")
    return f"{known}." if known else ANSWERED
