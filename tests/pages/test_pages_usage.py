"""The page of usage and its CSV: what it adds up to, what may be asked, and who sees what."""

import csv
import io
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.config.model import Key, Server, Team
from gateway.pages import words
from gateway.pages.usage import MOST_ROWS
from gateway.policy.pricing import Price
from tests.pages.visiting import TOKEN, text_of, visitor
from tests.running import MODELS, PRICES, Running, configured, key_text, running, upstream
from tests.stub import said, stub

HOSTILE = "<script>alert('x')</script>\"\r\n\x1b[31m\u202e&amp;|"
FORMULA = "=HYPERLINK(1)"
KEYS = {
    "alice": Key("alice", "default", key_text(1)),
    "bob": Key("bob", "red", key_text(2)),
    "<b>eve</b>": Key("<b>eve</b>", "red", key_text(3)),
}
WHO = {"alice": key_text(1), "bob": key_text(2), "<b>eve</b>": key_text(3)}
TEAMS = {"default": Team("default"), "red": Team("red")}


@asynccontextmanager
async def opened(store_url: str, data: Path) -> AsyncIterator[Running]:
    """A gateway with an upstream each for transcripts and for speech."""
    async with stub() as one:
        one.answers = [said(usage={"type": "duration", "seconds": 90.5})]
        names = {**MODELS, HOSTILE: "tts-1", FORMULA: "tts-1", "bobs-model": "tts-1"}
        prices = {**PRICES, **dict.fromkeys((HOSTILE, FORMULA, "bobs-model"), Price(per_1m_characters=Decimal(13)))}
        ups = (
            upstream("up-a", one.url),
            upstream("up-b", one.url, models={n: m for n, m in names.items() if m == "tts-1"}),
        )
        ups = replace(ups[0], models={"whisper-1": "whisper-1"}), ups[1]
        config = configured(data, *ups, teams=TEAMS, keys=KEYS, prices=prices)
        async with running(replace(config, server=Server(admin_token=TOKEN)), url=store_url) as gateway:
            yield gateway


async def transcribe(gateway: Running, who: str = "alice") -> None:
    async with gateway.client(WHO[who]) as client:
        file = {"file": ("x.wav", b"RIFF" + bytes(3000))}
        answer = await client.post("/audio/transcriptions", data={"model": "whisper-1"}, files=file)
        assert answer.status_code == 200, answer.text


async def speak(gateway: Running, who: str = "alice", model: str = "tts-1", *, characters: int = 7) -> None:
    async with gateway.client(WHO[who]) as client:
        body = {"model": model, "input": "x" * characters, "voice": "alloy"}
        answer = await client.post("/audio/speech", json=body)
        assert answer.status_code == 200, answer.text


async def page(client: httpx2.AsyncClient, query: str = "", *, status: int = 200) -> str:
    answer = await client.get(f"/usage{query}")
    assert answer.status_code == status, text_of(answer.text)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert " style=" not in answer.text
    return answer.text


def rows_of(page: str) -> list[list[str]]:
    """The cells of the table, the total last."""
    rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)]
    return rows[1:]


async def csv_of(client: httpx2.AsyncClient, query: str = "") -> tuple[list[dict[str, str]], str]:
    answer = await client.get(f"/usage.csv{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text, newline=""), strict=True)), answer.headers[
        "content-disposition"
    ]


async def test_the_page_and_the_file_add_up_to_the_records(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as gateway, visitor(gateway.origin, TOKEN) as operator:
        for who in ("alice", "bob", "bob"):
            await transcribe(gateway, who)
            await speak(gateway, who, characters=7)
        await gateway.idle()
        records = await gateway.records(6)
        for by, field in (("key", "key_name"), ("team", "team"), ("model", "model"), ("upstream", "upstream")):
            wanted: dict[str, list[Mapping[str, str]]] = {}
            for record in records:
                wanted.setdefault(record[field], []).append(record)
            text = await page(operator, f"?by={by}&period=30d&per=month")
            *rows, total = rows_of(text)
            assert {row[1]: row[2:] for row in rows} == {name: cells(some) for name, some in wanted.items()}
            assert total == ["In all", "", *cells(records)]
            file, _ = await csv_of(operator, f"?by={by}&period=30d&per=month")
            assert {row[by]: amounts(row) for row in file} == {name: told(some) for name, some in wanted.items()}
        assert f"<dd>{words.micro(sum(int(one['cost_micro_usd']) for one in records))}</dd>" in text


def cells(records: list[Mapping[str, str]]) -> list[str]:
    """What the table says of these, to the last millionth."""
    sums = {name: sum(int(one[name]) for one in records) for name in ("audio_ms", "characters", "cost_micro_usd")}
    cost = words.exact(sums["cost_micro_usd"])
    amounts = [words.audio(sums["audio_ms"] / 1000), f"{sums['characters']:,}", cost, cost]
    return [str(len(records)), "0", *amounts]


def amounts(row: Mapping[str, str]) -> tuple[int, int, Decimal, int, Decimal]:
    return (
        *(int(row["requests"]), int(row["errors"]), Decimal(row["audio_seconds"]), int(row["characters"])),
        Decimal(row["cost_usd"]),
    )


def told(records: list[Mapping[str, str]]) -> tuple[int, int, Decimal, int, Decimal]:
    audio = Decimal(sum(int(one["audio_ms"]) for one in records)) / 1000
    cost = Decimal(sum(int(one["cost_micro_usd"]) for one in records)) / 1_000_000
    return len(records), 0, audio, sum(int(one["characters"]) for one in records), cost


async def test_what_is_charted_and_by_which_times(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as gateway, visitor(gateway.origin, TOKEN) as operator:
        await transcribe(gateway)
        await speak(gateway)
        await gateway.idle()
        for show, title, whole in (
            ("cost", "Cost", words.micro(await gateway.cost())),
            ("requests", "Requests", "2"),
            ("audio", "Audio", "1.51 min"),
            ("characters", "Characters", "7"),
        ):
            text = await page(operator, f"?show={show}&by=route&per=day")
            assert f'aria-label="{title} by route, each day: {whole} in all"' in text
        bars = {"24h": 24, "7d": 7, "30d": 30, "12m": 12, "month": datetime.now(UTC).day}
        for span, count in bars.items():
            assert (await page(operator, f"?period={span}")).count('class="hit"') == count, span
        assert (await page(operator, "?period=24h&per=month")).count('class="hit"') in (1, 2)
        assert "By hour and model" in await page(operator, "?period=24h")
        assert "By month and model" in await page(operator, "?period=12m")


async def test_a_time_from_one_day_to_another(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as gateway, visitor(gateway.origin, TOKEN) as operator:
        await speak(gateway)
        await gateway.idle()
        day = await first_day(gateway)
        before = (datetime.fromisoformat(day) - timedelta(days=3)).strftime("%Y-%m-%d")
        text = await page(operator, f"?period=dates&since={before}&until={day}")
        assert text.count('class="hit"') == 4
        assert f'value="{before}"' in text
        assert f'value="{day}"' in text
        assert rows_of(text)[0][0] == day
        text = await page(operator, f"?since={before}&until={before}")  # a link need not say `dates`
        assert "Nothing was used in this time" in text
        assert (await page(operator, f"?until={day}")).count('class="hit"') == 1
        text = await page(operator, f"?since={day}T00&until={day}")
        assert f'type="text" value="{day}T00"' in text
        assert (await page(operator, "?period=dates")).count('class="hit"') == 30
        _, name = await csv_of(operator, f"?period=dates&since={before}&until={day}&by=key")
        assert name == f'attachment; filename="audiogate-usage-{before}-to-{day}-by-key.csv"'


async def first_day(gateway: Running) -> str:
    """The day (UTC) of the first record."""
    return datetime.fromtimestamp(float((await gateway._records())[0]["at"]), UTC).strftime("%Y-%m-%d")


async def test_filters_leave_out_all_else_and_offer_what_there_is(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as gateway, visitor(gateway.origin, TOKEN) as operator:
        for who in ("alice", "bob"):
            await transcribe(gateway, who)
            await speak(gateway, who)
        await gateway.idle()
        for query, count in (
            *(("key=bob", 2), ("team=default", 2), ("model=whisper-1", 2), ("upstream=up-b", 2), ("route=speech", 2)),
            *(("key=bob&model=tts-1", 1), ("team=default&key=bob", 0), ("model=gone", 0)),
        ):
            text = await page(operator, f"?by=key&{query}")
            assert f"<dt>Requests</dt><dd>{count}</dd>" in text, query
            file, _ = await csv_of(operator, f"?by=key&{query}")
            assert sum(int(row["requests"]) for row in file) == count
        assert "Nothing was used in this time of what is asked for" in text
        for name in ("default", "red", "alice", "bob", "whisper-1", "tts-1", "up-a", "up-b", "speech", "transcription"):
            assert f'<option value="{name}">' in text, name
        assert '<option value="gone" selected>gone</option>' in text
        assert 'href="/usage.csv?period=7d&amp;by=key&amp;show=cost&amp;model=gone"' in text
        assert "data-live" in text


async def test_names_that_callers_made_up_are_only_text(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as gateway, visitor(gateway.origin, TOKEN) as operator:
        await speak(gateway, "<b>eve</b>", HOSTILE)
        await speak(gateway, "<b>eve</b>", FORMULA)
        await gateway.idle()
        for query in (
            "?by=model",
            "?by=key",
            "?model=" + "%3Cscript%3E%1b%0d",
            "?by=%3Cscript%3E%1b",
            "?since=%3Cb%3E",
        ):
            answer = await operator.get(f"/usage{query}")
            assert answer.status_code in (200, 400)
            body = answer.text
            assert not re.search(r"<script>|<b>|[\x00-\x08\x0b-\x1f\x7f\u202e]", body), query
        text = await page(operator, "?by=model")
        assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&#34;\ufffd\ufffd\ufffd[31m\ufffd&amp;amp;_" in text
        assert "&lt;b&gt;eve&lt;/b&gt;" in await page(operator, "?by=key")
        assert {row["model"] for row in (await csv_of(operator, "?by=model"))[0]} == {
            HOSTILE.replace("|", "_").replace("\r\n", "\\r\\n"),
            "'" + FORMULA,
        }
        assert "Nothing was used" not in await page(operator, "?model=" + "%3DHYPERLINK(1)")


async def test_holders_see_their_own_and_nothing_else(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as gateway, visitor(gateway.origin, WHO["alice"]) as alice:
        await speak(gateway, "alice", characters=7)
        for _ in range(2):
            await speak(gateway, "bob", "bobs-model", characters=123_457)
            await transcribe(gateway, "bob")
        await gateway.idle()
        mine, *others = sorted(await gateway.records(5), key=lambda one: one["key_name"])
        foreign = {one[field] for one in others for field in ("key", "key_name", "team", "id", "model", "upstream")}
        foreign -= {mine[field] for field in ("key", "key_name", "team", "id", "model", "upstream")}
        foreign |= {"123,457", "246,914", "123457", "246914", "181", "up-a", "transcription", "1.604941"}
        cost = words.exact(int(mine["cost_micro_usd"]))
        ids = (others[0]["key"], "bob", "red")
        for query in (
            *("", "?by=upstream", "?by=route", "?period=24h&show=audio", "?period=dates"),
            *(f"?key={ids[0]}", "?key=bob", "?team=red", f"?team=red&key={ids[0]}&by=route"),
        ):
            for path in ("/usage", "/usage.csv"):
                answer = await alice.get(path + query)
                assert answer.status_code == 200
                for word in foreign - set(re.findall(r"\w+", query)):
                    assert word not in answer.text, (path, query, word)
                for word in ids:  # not even what they asked for is said again
                    assert word not in re.findall(r"[\w-]+", answer.text.partition("<main")[2]), (path, query)
            assert cost in (await page(alice, query))
        text = await page(alice)
        assert 'name="team"' not in text
        assert 'name="key"' not in text
        assert "Paid to upstreams" not in text
        assert 'href="/">Where your limits stand' in text
        assert "upstream_cost_usd" not in (await csv_of(alice))[0][0]
        for query in ("?by=key", "?by=team"):
            refused = text_of(await page(alice, query, status=400))
            assert "&#39;by&#39; is one of model, upstream, route" in refused
            assert (await alice.get(f"/usage.csv{query}")).status_code == 400


@pytest.mark.parametrize(
    ("query", "words_"),
    [
        ("by=colour", "is one of team, key, model, upstream, route, got &#39;colour&#39;."),
        ("per=minute", "is one of hour, day, month, got &#39;minute&#39;."),
        ("period=1d", "is one of 24h, 7d, 30d, month, 12m, dates, got &#39;1d&#39;."),
        ("show=love", "is one of cost, requests, audio, characters, got &#39;love&#39;."),
        ("since=yesterday", "Expected a day such as 2026-01-31"),
        ("since=2026-02-30", "got &#39;2026-02-30&#39;."),
        ("since=1d&until=9999999d", "got &#39;9999999d&#39;."),
        ("since=2d&until=3d", "is later than the end"),
        ("since=2020-01", "Sums of days are kept for 400 days"),
        ("period=12m&per=hour", "Sums of hours are kept for 90 days"),
        ("since=80d&per=hour", "hours, more than can be shown; choose days, or a shorter time."),
    ],
)
async def test_what_cannot_be_asked_is_one_sentence(store_url: str, data: Path, query: str, words_: str) -> None:
    async with opened(store_url, data) as gateway, visitor(gateway.origin, TOKEN) as operator:
        text = await page(operator, f"?{query}", status=400)
        (alert,) = re.findall(r'role="alert">(.*?)</p>', text)
        assert words_ in alert
        assert 'action="/usage"' in text  # to ask again
        assert "<table>" not in text
        answer = await operator.get(f"/usage.csv?{query}")
        assert answer.status_code == (200 if "more than can be shown" in words_ else 400)


async def test_an_empty_installation_says_so(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as gateway:
        for secret in (TOKEN, WHO["alice"]):
            async with visitor(gateway.origin, secret) as somebody:
                text = await page(somebody)
                assert "Nothing was used in this time." in text
                assert 'href="/playground"' in text
                assert "<dt>Requests</dt><dd>0</dd>" in text
                assert (await csv_of(somebody))[0] == []


async def test_many_rows_are_cut_off_and_the_file_has_them_all(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as gateway, visitor(gateway.origin, TOKEN) as operator:
        client: Any = gateway.app.connection.client
        now = datetime.now(UTC)
        for back in range(4):
            hour = now - timedelta(days=back)
            fields = {
                f"default|kid{number}|m{number % 9}|a|speech|{metric}": amount
                for number in range(200)
                for metric, amount in (("requests", 1), ("usd", number), ("ms", 60_000))
            }
            await client.hset(f"{{ag}}:day:{hour:%Y%m%d}", mapping=fields)
        text = await page(operator, "?by=key")
        *rows, total = rows_of(text)
        assert len(rows) == MOST_ROWS
        assert rows[0][0] == f"{now:%Y-%m-%d}"
        assert "These are the newest 300 of 800 rows" in text
        assert total == ["In all", "", "800", "0", "13.3 h", "0", words.exact(4 * 19_900), "$0.000000"]
        assert text.count('class="key s') == 8
        file, _ = await csv_of(operator, "?by=key")
        assert len(file) == 800
        assert sum(Decimal(row["cost_usd"]) for row in file) == Decimal(4 * 19_900) / 1_000_000


async def test_what_operators_look_at_is_written_down(store_url: str, data: Path) -> None:
    async with opened(store_url, data) as gateway:
        for secret in (TOKEN, WHO["alice"]):
            async with visitor(gateway.origin, secret) as somebody:
                await page(somebody)
                await csv_of(somebody)
                await page(somebody, "?by=colour", status=400)
        lines = [fields for _, fields in await gateway.app.connection.client.xrange("{ag}:audit")]
        assert [(one["door"], one["what"]) for one in lines if one["action"] == "usage.show"] == [("page", "*")] * 2
