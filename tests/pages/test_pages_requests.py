"""The list of requests, and one of them: what is shown, how it is found, and who sees what."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.config.model import Key, Server, Team
from gateway.pages import words
from gateway.pages.request import ANSWERED, SOURCES
from gateway.pages.requests import PAGE
from tests.pages.visiting import TOKEN, text_of, visitor
from tests.running import Running, configured, key_text, running, upstream
from tests.stub import Stub, failed, said, stub

HOSTILE = "<script>alert('x')</script>\"\r\n\x1b[31m\u202e&amp;"
KEYS = {
    "alice": Key("alice", "default", key_text(1), upstreams=("up-a", "up-b")),
    "bob": Key("bob", "bobs-team", key_text(2)),
}
TEAMS = {"default": Team("default"), "bobs-team": Team("bobs-team")}
WHO = {"alice": key_text(1), "bob": key_text(2)}
RAW = re.compile(r"<script>|[\x00-\x08\x0b-\x1f\x7f\u202e]")


@asynccontextmanager
async def opened(store_url: str, data: Path) -> AsyncIterator[tuple[Running, Stub, Stub]]:
    """A gateway with two upstreams, the first of which is asked first."""
    async with stub() as one, stub() as two:
        ups = upstream("up-a", one.url), upstream("up-b", two.url)
        config = configured(data, *ups, teams=TEAMS, keys=KEYS)
        async with running(replace(config, server=Server(admin_token=TOKEN)), url=store_url) as gateway:
            yield gateway, one, two


async def transcribe(gateway: Running, who: str = "alice", **more: str) -> str:
    """The id of a request that is in the books."""
    async with gateway.client(WHO[who]) as client:
        form = {"model": "whisper-1", **more}
        answer = await client.post("/audio/transcriptions", data=form, files={"file": ("x.wav", b"RIFF" + bytes(3000))})
    await gateway.idle()
    return str(answer.headers["x-request-id"])


async def write(gateway: Running, **fields: str) -> str:
    """A record as it may stand in the store."""
    client: Any = gateway.app.connection.client
    rid = fields.get("id") or f"req_{await client.xlen('{ag}:usage'):032x}"
    kid = (await client.hgetall("{ag}:names"))[fields.pop("key_name", "alice")]
    known = {"id": rid, "at": "1000.000", "key": kid, "team": "default", "route": "speech", "cost_micro_usd": "0"}
    await client.xadd("{ag}:usage", {**known, **fields})
    return rid


async def page(client: httpx2.AsyncClient, path: str, *, status: int = 200) -> str:
    answer = await client.get(path)
    assert answer.status_code == status, text_of(answer.text)
    assert " style=" not in answer.text
    assert not RAW.search(answer.text)
    return answer.text


def ids_in(text: str) -> list[str]:
    return re.findall(r'href="/requests/(req_[0-9a-f]{32})"', text)


def facts_in(text: str) -> dict[str, str]:
    """What stands in the lists of facts."""
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text)
    return {name: unescape(re.sub(r"<[^>]+>", "", value)) for name, value in found}


async def test_the_newest_stand_first_with_what_is_known(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, one, two), visitor(gateway.origin, TOKEN) as operator:
        rids = [await transcribe(gateway, who) for who in ("alice", "bob")]
        one.answers = two.answers = [failed(400, "no such language")]
        rids.append(await transcribe(gateway))
        text = await page(operator, "/requests")
        assert ids_in(text) == rids[::-1]
        rows = [text_of(f"<body>{row}") for row in re.findall(r"<tr>(.*?)</tr>", text)][1:]
        for row, record in zip(rows, reversed(await gateway.records(3)), strict=True):
            for word in (record["key_name"], "transcription", "whisper-1", record["upstream"], record["status"]):
                assert word in row
            assert words.exact(int(record["cost_micro_usd"])) in row
            assert words.span(int(record["latency_ms"])) in row
            assert row.endswith(record["error"])
        assert 'badge warn">400' in text
        assert text.count('badge good">200') == 2


async def test_filters(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, one, two), visitor(gateway.origin, TOKEN) as operator:
        rids = [await transcribe(gateway), await transcribe(gateway, "bob"), await transcribe(gateway, model="tts-1")]
        one.answers = two.answers = [failed(400)]
        rids.append(await transcribe(gateway, "bob"))
        rids.append(await write(gateway, model=HOSTILE, error="expired", upstream="up-c"))
        kid = (await gateway.records(5))[1]["key"]
        for query, found in (
            *(
                ("key=bob", "13"),
                ("team=default", "024"),
                ("model=tts-1", "2"),
                ("route=speech", "4"),
                ("errors=1", "34"),
            ),
            *(
                (f"key={kid}", "024"),
                ("upstream=up-c", "4"),
                ("key=bob&errors=1", "3"),
                ("key=nobody", ""),
                ("", "01234"),
            ),
        ):
            assert ids_in(await page(operator, f"/requests?{query}")) == [rids[int(one)] for one in found[::-1]], query
        text = await page(operator, "/requests?key=bob&route=speech&errors=1&model=%3Cscript%3E%1b")
        assert "There are no such requests." in text
        for part in ('name="key" value="bob"', "<option selected>speech", '<option value="1" selected>failed'):
            assert part in text
        assert '<option value="whisper-1">' in text
        assert 'value="&lt;script&gt;\ufffd"' in text
        assert "data-live" in text


async def test_pages_go_on_where_the_last_one_ended(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, _, _), visitor(gateway.origin, TOKEN) as operator:
        rids = [await write(gateway, error="expired" if number % 2 else "") for number in range(2 * PAGE + 10)]
        for query, wanted in (("", rids), ("?errors=1", rids[1::2])):
            seen, path = list[str](), f"/requests{query}"
            while path:
                text = await page(operator, path)
                seen += ids_in(text)
                assert ('">The newest</a>' in text) == ("before=" in path)
                older = re.search(r'class="button" href="(.*?)">Older', text)
                path = older[1].replace("&amp;", "&") if older else ""
            assert seen == wanted[::-1]
        assert "There are no such requests." in await page(operator, "/requests?before=0-1")


async def test_a_list_that_had_to_look_too_far_says_so(
    store_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(store_url, data) as (gateway, _, _), visitor(gateway.origin, TOKEN) as operator:
        rid = await write(gateway, model="seldom")
        for _ in range(12):
            await write(gateway)
        await page(operator, "/requests")
        monkeypatch.setattr("gateway.pages.requests.MOST_LOOKED_AT", 10)
        text = await page(operator, "/requests?model=seldom")
        assert "10 records were looked at; there are older ones." in text
        assert "There are no such requests" not in text
        older = re.search(r'class="button" href="(.*?)">Older', text)
        assert older is not None
        assert ids_in(await page(operator, older[1].replace("&amp;", "&"))) == [rid]


async def test_a_request_is_found_by_its_id(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, _, _), visitor(gateway.origin, TOKEN) as operator:
        rid = await transcribe(gateway)
        for text in (rid, f"  {rid}\n", f"x-request-id: {rid}", rid.upper()):
            answer = await operator.get("/requests", params={"id": text})
            assert (answer.status_code, answer.headers["location"]) == (303, f"/requests/{rid}")
        for text in ("req_", rid[:-1], "<script>\x1b"):
            answer = await operator.get("/requests", params={"id": text})
            assert answer.status_code == 400
            assert "This is no id of a request" in answer.text
            assert not RAW.search(answer.text)
        assert "These are the newest" in text_of(await page(operator, "/requests?before=x", status=400)).replace(
            "these", "These"
        )
        for before in ("1-1-1", "-", "99999999999999999999-0", "%0A"):
            await page(operator, f"/requests?before={before}", status=400)


async def test_one_request_with_its_amounts_and_its_steps(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, one, two), visitor(gateway.origin, TOKEN) as operator:
        one.answers, two.answers = [failed(500)], [said(usage={"type": "duration", "seconds": 90.5})]
        rid = await transcribe(gateway)
        (record,) = await gateway.records(1)
        text = await page(operator, f"/requests/{rid}")
        facts = facts_in(text)
        wanted = {"Key": "alice", "Team": "default", "Route": "transcription", "Model": "whisper-1"}
        wanted |= {"Upstream": "up-b", "Sent to": "POST /v1/audio/transcriptions", "Ended in": "relay"}
        wanted |= {"Cost": "$0.009050", "Paid to upstreams": "$0.009050", "Used": "1.5 min", "Attempts": "2"}
        wanted |= {"From": SOURCES["upstream"], "Failed attempts": "up-a, failed"}
        assert {name: facts[name] for name in wanted} == wanted
        assert f"<code>{rid}</code>" in text
        steps = re.findall(r'<th scope="row"( class="inner")?>(\w[\w-]*)', text)
        assert [name for inner, name in steps if not inner] == [
            *("authenticate", "receive", "plan", "admit", "attempt", "relay", "settle")
        ]
        assert [name for inner, name in steps if inner] == ["up-a", "up-b"]
        assert 'badge bad">failed' in text
        assert 'badge good">served' in text
        took = re.findall(r'<td class="num">(.*?)</td></tr>', text)
        said_ms = [float(one) for one in re.findall(r"(?:=|\+)([0-9.]+)", record["steps_ms"])]
        assert took == [words.span(one) for one in said_ms]
        assert text.count("Neither audio nor texts are kept or shown") == 1
        assert "corrected" not in text
        assert "role=" not in text.partition("<main")[2]


async def test_a_request_that_was_not_served_says_what_its_error_means(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, _, _), visitor(gateway.origin, TOKEN) as operator:
        for error, status, sentence in (
            ("upstream_timeout", "504", "The upstream did not answer in time."),
            ("upstream_busy", "429", "Every upstream that may serve this request is busy."),
            ("rate_limit", "429", ANSWERED),
            ("upstream_said", "400", "its answer was passed on."),
            ("", "400", ANSWERED),
            ("KeyError", "500", "its log has more under this id."),
            ("expired", "", "What is then charged is said by store.on_expired."),
            ("unsettled", "", "Nothing was charged"),
            ("client_gone", "499", "The client closed the connection."),
            (HOSTILE, "500", "its log has more"),
        ):
            text = await page(operator, f"/requests/{await write(gateway, error=error, status=status)}")
            (notice,) = re.findall(r'<p class="(?:notice|wrong)">(.*?)</p>', text)
            assert sentence in notice, error
            assert ("<code>" in notice) == bool(error)
            assert "{" not in notice
        assert "Nobody knows: its gateway ended before it did." in await page(
            operator, f"/requests/{await write(gateway, error='expired')}"
        )


async def test_where_amounts_come_from_and_what_older_records_know(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, _, _), visitor(gateway.origin, TOKEN) as operator:
        for source, sentence in (*SOURCES.items(), ("dreams", "dreams")):
            text = await page(operator, f"/requests/{await write(gateway, source=source)}")
            assert facts_in(text)["From"] == sentence
        disputed = {"source": "packets", "disputed": "1", "characters": "1200", "input_tokens": "5"}
        old = {
            "latency_ms": "3000",
            "first_byte_ms": "1000",
            "model": "a",
            "model_sent": "b",
            "reserved_micro_usd": "7",
        }
        failing = {"failed": "up-a:busy:0 up-b:timeout:12", "bytes_in": "2000"}
        text = await page(operator, f"/requests/{await write(gateway, **disputed, **old, **failing)}")
        facts = facts_in(text)
        assert facts["From"] == f"{SOURCES['packets']} Two sources differed by more than 5 %; the larger amount counts."
        assert (facts["Used"], facts["Tokens"], facts["Model"]) == ("1,200 chars", "5 in, 0 out", "a (there: b)")
        assert (facts["Was reserved"], facts["Bytes"]) == ("$0.000007", "2.0 KB in, 0 B out")
        assert facts["Failed attempts"] == "up-a, busy; up-b, timeout, $0.000012"
        assert re.findall(r'<td class="num">(.*?)</td></tr>', text) == ["1.00 s", "2.00 s"]


async def test_a_correction_is_shown_as_such(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, _, _), visitor(gateway.origin, TOKEN) as operator:
        rid = await write(gateway, error="expired", cost_micro_usd="6000")
        await write(gateway, id=rid, takes_back="6000", cost_micro_usd="90", status="200", latency_ms="5")
        text = await page(operator, f"/requests/{rid}")
        assert "first recorded as expired, at $0.006000." in text
        assert "$0.006000 were taken back and $0.000090 charged." in text
        assert facts_in(text)["Cost"] == "$0.000090"
        assert 'badge good">200' in text
        text = await page(operator, "/requests")
        assert ids_in(text) == [rid, rid]
        assert text.count('badge ">corrected') == 1
        assert ">alice</a>" in text  # such records have no name of a key


async def test_what_callers_made_up_is_only_text(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, _, _), visitor(gateway.origin, TOKEN) as operator:
        fields = ("model", "model_sent", "path", "method", "upstream", "upstream_request", "error", "route", "step")
        made_up = {**dict.fromkeys(fields, HOSTILE), "status": "200", "source": HOSTILE, "failed": HOSTILE + ":x:1"}
        rid = await write(gateway, **made_up, team=HOSTILE, attempts=HOSTILE, steps_ms=HOSTILE)
        for path in ("/requests", f"/requests/{rid}"):
            text = await page(operator, path)
            assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&#34;\ufffd\ufffd\ufffd[31m\ufffd&amp;amp;" in text


async def test_holders_see_their_own_and_nothing_else(store_url: str, data: Path) -> None:
    async with (
        opened(store_url, data) as (gateway, one, two),
        visitor(gateway.origin, WHO["alice"]) as alice,
        visitor(gateway.origin, TOKEN) as operator,
    ):
        one.answers = two.answers = [said(usage={"type": "duration", "seconds": 90.5})]
        mine = await transcribe(gateway)
        foreign = {"cost_micro_usd": "777123", "model": "bobs-model", "error": "bobs_error", "team": "bobs-team"}
        theirs = await write(gateway, key_name="bob", upstream="bobs-upstream", status="503", **foreign)
        names = await gateway.app.connection.client.hgetall("{ag}:names")
        hidden = {theirs, theirs[-8:], names["bob"], "bob", "bobs-team", "0.777123", "bobs-model", "bobs_error"}
        hidden |= {"bobs-upstream", ">503<", "Paid to upstreams"}
        for query in (
            *("", "?errors=1", "?model=bobs-model", "?route=speech", "?upstream=bobs-upstream"),
            *("?key=bob", f"?key={names['bob']}", "?team=bobs-team", "?team=bobs-team&key=bob&errors=1"),
        ):
            text = await page(alice, f"/requests{query}")
            assert ids_in(text) in ([mine], []), query
            for word in hidden:
                assert word in query or word not in text, (query, word)
        assert ids_in(await page(alice, "/requests?key=bob")) == [mine]  # it is not asked whose
        text = await page(alice, "/requests")
        assert 'name="key"' not in text
        assert 'name="team"' not in text
        text = await page(alice, f"/requests/{mine}")
        assert facts_in(text)["Cost"] == "$0.009050"
        for word in hidden:
            assert word not in text
        missing = theirs[:-1] + ("0" if theirs[-1] != "0" else "1")
        for who in (alice, operator):
            await page(who, f"/requests/{missing}", status=404)
        answers = [(await page(alice, f"/requests/{rid}", status=404)).replace(rid, "") for rid in (theirs, missing)]
        assert answers[0] == answers[1]
        await page(operator, f"/requests/{theirs}")


@pytest.mark.parametrize("rid", ["x", "req_", "req_" + "0" * 31, "req_" + "0" * 33, "REQ_" + "0" * 32, "<script>"])
async def test_what_is_no_id_is_not_there(store_url: str, data: Path, rid: str) -> None:
    async with opened(store_url, data) as (gateway, _, _), visitor(gateway.origin, TOKEN) as operator:
        text = await page(operator, f"/requests/{rid}", status=404)
        assert "There is no record of" in text


async def test_an_empty_installation_says_so(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, _, _):
        for secret in (TOKEN, WHO["alice"]):
            async with visitor(gateway.origin, secret) as somebody:
                text = await page(somebody, "/requests")
                assert "There are no such requests." in text
                assert "<table" not in text


async def test_what_operators_look_at_is_written_down(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as (gateway, _, _):
        rid = await transcribe(gateway)
        for secret in (TOKEN, WHO["alice"]):
            async with visitor(gateway.origin, secret) as somebody:
                await page(somebody, "/requests")
                await page(somebody, f"/requests/{rid}")
                await page(somebody, f"/requests/req_{0:032x}", status=404)
        lines: list[Mapping[str, str]] = [
            fields for _, fields in await gateway.app.connection.client.xrange("{ag}:audit")
        ]
        assert [
            (one["action"], one["what"], one["result"]) for one in lines if one["action"].startswith("requests")
        ] == [
            ("requests.list", "*", "ok"),
            ("requests.show", rid, "ok"),
            ("requests.show", f"req_{0:032x}", "none"),
        ]
