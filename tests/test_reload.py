"""Another configuration for a gateway that serves: what changes from the next request on, and what stays as it was."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.config.load import load
from gateway.config.model import Config, Key, Server, Team, Uploads
from gateway.errors import refuse
from gateway.groundwork import declare
from gateway.policy.limits import Limit
from gateway.policy.pricing import Price
from gateway.reload import Looks, Reloads, moved, read_again
from gateway.store.register import Register
from tests.aggregator import with_wallet
from tests.media import make
from tests.running import PEPPER, PRICES, WHISPER, Running, configured, key_text, running, until, upstream
from tests.stub import Answer, Stub, failed, said, stub
from tests.wire import END, FORM, MODEL, Said, Wire, dial, file, text

WAV = make("wav", 60.0)
FIELDS_FIRST = MODEL + file(WAV) + END
FILE_FIRST = file(WAV) + MODEL + END
TRANSCRIPTIONS = "/v1/audio/transcriptions"
DEAR = {**PRICES, "whisper-1": Price(per_minute=Decimal("0.06"))}


@asynccontextmanager
async def serving(store_url: str, data: Path, **more: Any) -> AsyncIterator[tuple[Running, Stub, Stub, Wire]]:
    """A gateway that goes to the first of two upstreams, `a`, and knows nothing of the other."""
    async with stub() as one, stub() as two:
        config = configured(data, upstream("a", one.url), **more)
        async with running(config, url=store_url) as gateway, dial(gateway) as wire:
            yield gateway, one, two, wire
            await gateway.idle()


async def reload(gateway: Running, config: Config) -> None:
    """What SIGHUP does, with a configuration that was not read from a file."""
    store = gateway.app.live.config.store

    async def bring(other: Config) -> None:
        await declare(other, store.url)

    one = Reloads(now=lambda: gateway.app.live.config, declare=bring, follow=gateway.app.live.follow)
    assert await one.apply(replace(config, store=store))


async def post(wire: Wire, body: bytes = FIELDS_FIRST) -> Said:
    return await wire.post(TRANSCRIPTIONS, body)


async def gauge(gateway: Running, name: str) -> dict[str, float]:
    """Values of a gauge by its first label."""
    async with gateway.client() as client:
        text = (await client.get(f"{gateway.origin}/metrics")).text
    (found,) = [family for family in text_string_to_metric_families(text) if family.name == f"audiogate_{name}"]
    return {next(iter(sample.labels.values()), ""): sample.value for sample in found.samples}


async def test_Q_10_a_request_is_charged_at_the_price_and_the_limit_it_was_let_in_at(
    store_url: str, data: Path
) -> None:
    def with_limit(count: int) -> dict[str, Key]:
        return {"alice": Key("alice", "default", key_text(), limits=(Limit("requests", "day", count),))}

    hold = asyncio.Event()
    async with serving(store_url, data, keys=with_limit(1)) as (gateway, one, _, wire):
        one.answers = [Answer(hold=hold), said()]
        async with dial(gateway) as other:
            runs = asyncio.ensure_future(post(wire))
            await one.request()
            config = gateway.app.live.config
            dear = configured(data, *config.market.upstreams, prices=DEAR, keys=with_limit(2))
            await reload(gateway, dear)
            assert (await post(other)).status == 200
            assert (await post(other)).error["code"] == "insufficient_quota"
            hold.set()
            assert (await runs).status == 200
        records = await gateway.records(2)
    assert [record["cost_micro_usd"] for record in records] == ["6000", "60000"]


async def test_Q_10_a_request_that_still_comes_in_is_let_in_at_the_price_of_that_moment(
    store_url: str, data: Path
) -> None:
    async with serving(store_url, data) as (gateway, _, _, wire):
        # With the file first nothing can be let in before the whole form is here.
        await wire.begin("POST", TRANSCRIPTIONS, f"Content-Length: {len(FILE_FIRST)}", "Content-Type: " + FORM)
        await wire.send(FILE_FIRST[:100_000])
        await until(lambda: gauge(gateway, "spool_bytes"), lambda found: found[""] > 0)
        config = gateway.app.live.config
        await reload(gateway, configured(data, *config.market.upstreams, prices=DEAR))
        await wire.send(FILE_FIRST[100_000:])
        assert (await wire.answer()).status == 200
        (record,) = await gateway.records()
        await gateway.idle()
        assert await gauge(gateway, "spool_bytes") == {"": 0}
    assert record["cost_micro_usd"] == "60000"


async def test_the_next_request_goes_to_the_upstream_that_is_there_now(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one, two, wire):
        assert (await post(wire)).status == 200
        await reload(gateway, configured(data, upstream("b", two.url)))
        assert (await post(wire)).status == 200
        records = await gateway.records(2)
        assert await gauge(gateway, "upstream_up") == {"b": 1}
        assert await gauge(gateway, "upstream_ejected") == {"b": 0}
    assert [record["upstream"] for record in records] == ["a", "b"]
    assert (len(one.seen), len(two.seen)) == (1, 1)


async def test_a_request_at_an_upstream_that_goes_is_answered_and_charged(store_url: str, data: Path) -> None:
    hold = asyncio.Event()
    async with serving(store_url, data) as (gateway, one, two, wire):
        one.answers = [Answer(hold=hold)]
        runs = asyncio.ensure_future(post(wire))
        await one.request()
        await reload(gateway, configured(data, upstream("b", two.url)))
        hold.set()
        assert (await runs).json == {"text": "hello"}
        (record,) = await gateway.records()
        assert await gauge(gateway, "upstream_up") == {"b": 1}
        assert await gauge(gateway, "reservations_held") == {"": 0}
    assert (record["upstream"], record["status"], record["cost_micro_usd"]) == ("a", "200", "6000")


async def test_failures_at_an_upstream_that_goes_count_for_nobody(store_url: str, data: Path) -> None:
    hold = asyncio.Event()
    async with serving(store_url, data) as (gateway, one, two, wire):
        first, second = upstream("a", one.url), upstream("b", two.url, priority=2)
        await reload(gateway, configured(data, first, second))
        one.answers = [replace(failed(500), hold=hold)]
        runs = asyncio.ensure_future(post(wire))
        await one.request()
        await reload(gateway, configured(data, upstream("c", two.url)))
        hold.set()
        assert (await runs).status == 200  # at `b`, which it was planned for
        (record,) = await gateway.records()
        assert gateway.app.parts.health.unhealthy() == frozenset()
        assert await gauge(gateway, "upstream_up") == {"c": 1}
    assert (record["upstream"], record["attempts"], record["cost_micro_usd"]) == ("b", "2", "6000")


async def test_an_upstream_rests_on_unless_it_is_another_server_or_account(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one, two, wire):
        both = (upstream("a", one.url), upstream("b", two.url, priority=2))
        await reload(gateway, configured(data, *both))
        one.answers = [failed(500)]
        while "a" not in gateway.app.parts.health.unhealthy():
            assert (await post(wire)).status == 200
        await reload(gateway, configured(data, *both, prices=DEAR))
        assert gateway.app.parts.health.unhealthy() == {"a"}
        await reload(gateway, configured(data, replace(both[0], key="sk-new"), both[1]))
        assert gateway.app.parts.health.unhealthy() == frozenset()
        one.answers = [said("from a")]
        assert (await post(wire)).json == {"text": "from a"}
        assert one.seen[-1].headers["authorization"] == "Bearer sk-new"


def test_a_name_stands_for_another_server_when_its_address_its_key_or_its_kind_changes() -> None:
    one = upstream("a", "http://a")
    assert moved([one], [replace(one, weight=7, priority=2, models={"m": "m"})]) == frozenset()
    for other in (upstream("a", "http://b"), replace(one, key="x"), upstream("a", "http://a", kind="newapi")):
        assert moved([one], [other]) == {"a"}
    assert moved([one], []) == frozenset()
    assert moved([], [one]) == {"a"}


async def test_models_and_bounds_and_the_operators_token_are_those_of_the_new_file(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one, _, wire), gateway.client() as client:
        names = [row["id"] for row in (await client.get("/models")).json()["data"]]
        assert names == ["whisper-1", "gpt-4o-transcribe", "tts-1"]
        other = upstream("a", one.url, models={"whisper-2": "whisper-1"})
        config = configured(data, other, prices={"*": WHISPER}, uploads=Uploads(max_bytes=1000))
        config = replace(config, server=Server(admin_token="0123456789abcdef"))
        await reload(gateway, config)
        names = [row["id"] for row in (await client.get("/models")).json()["data"]]
        assert names == ["whisper-2"]
        assert (await post(wire)).status == 413
        await reload(gateway, replace(config, uploads=Uploads(total_bytes=1000)))
        async with dial(gateway) as another:  # who sends too much is hung up on
            form = text("model", "whisper-2") + file(WAV) + END
            assert (await another.post(TRANSCRIPTIONS, form)).status == 503
        token = {"authorization": "Bearer 0123456789abcdef"}
        answer = await client.get(f"{gateway.origin}/admin/keys", headers=token)
        assert [row["name"] for row in answer.json()["data"]] == ["alice"]
        await reload(gateway, replace(config, server=Server()))
        assert (await client.get(f"{gateway.origin}/admin/keys", headers=token)).status_code == 404


async def test_a_body_that_is_kept_counts_to_its_end_although_the_bounds_are_others(store_url: str, data: Path) -> None:
    hold = asyncio.Event()
    async with serving(store_url, data) as (gateway, one, _, wire):
        one.answers = [Answer(hold=hold)]
        runs = asyncio.ensure_future(post(wire))
        await one.request()
        await until(lambda: gauge(gateway, "spool_bytes"), lambda found: found[""] > len(WAV))
        await reload(gateway, configured(data, upstream("a", one.url), uploads=Uploads(memory_bytes=1)))
        assert (await gauge(gateway, "spool_bytes"))[""] > len(WAV)
        hold.set()
        assert (await runs).status == 200
        await gateway.idle()
        assert await gauge(gateway, "spool_bytes") == {"": 0}


async def test_wallets_are_looked_at_where_the_file_says_so_now(store_url: str, data: Path) -> None:
    async with serving(store_url, data) as (gateway, one, two, _):
        with_wallet(one, usd=1)
        with_wallet(two, usd=2)
        first = upstream("a", one.url, kind="newapi", balance=True)
        second = upstream("b", two.url, kind="newapi", balance=True)
        assert gateway.app.balances.names == ()
        for wanted in ((first,), (first, second), (second,)):
            await reload(gateway, configured(data, *wanted))
            expected = {one.name: {"a": 1.0, "b": 2.0}[one.name] for one in wanted}
            await until(lambda: gauge(gateway, "upstream_balance_usd"), lambda found, want=expected: found == want)
        looks = len(one.seen), len(two.seen)
        await reload(gateway, configured(data, second, prices=DEAR))  # nothing that a wallet hangs on
        watches = [task for task in gateway.app.tasks._running if task.get_name() == "watch a wallet"]
        assert len(watches) == 1
        assert (len(one.seen), len(two.seen)) == looks
        await reload(gateway, configured(data, replace(second, balance=False)))
        assert gateway.app.balances.names == ()
        await until(lambda: _running(gateway, "watch a wallet"), lambda count: count == 0)


async def _running(gateway: Running, name: str) -> int:
    return len([task for task in gateway.app.tasks._running if task.get_name() == name])


async def test_teams_that_go_take_their_gauges_with_them_and_leave_their_sums(store_url: str, data: Path) -> None:
    limits = (Limit("usd", "day", 1_000_000),)

    def of(team: str) -> dict[str, Any]:
        keys = {"alice": Key("alice", team, key_text())}
        return {"keys": keys, "teams": {"default": Team("default"), team: Team(team, limits=limits)}}

    async with serving(store_url, data, **of("red")) as (gateway, one, _, wire):
        assert (await post(wire)).status == 200
        await gateway.records(1)
        assert list(await gauge(gateway, "quota_remaining_ratio")) == ["red"]
        await reload(gateway, configured(data, upstream("a", one.url), **of("blue")))
        assert await gauge(gateway, "quota_remaining_ratio") == {}
        assert (await post(wire)).status == 200
        await gateway.records(2)
        assert list(await gauge(gateway, "quota_remaining_ratio")) == ["blue"]
        async with gateway.client() as client:
            text = (await client.get(f"{gateway.origin}/metrics")).text
    counted = [line for line in text.splitlines() if line.startswith("audiogate_cost_micro_usd_total")]
    assert sorted(line.partition('team="')[2].partition('"')[0] for line in counted) == ["blue", "red"]


async def test_Q_11_a_key_and_a_team_that_the_file_no_longer_names_are_refused(store_url: str, data: Path) -> None:
    keys = {"alice": Key("alice", "default", key_text()), "bob": Key("bob", "red", key_text(2))}
    teams = {"default": Team("default"), "red": Team("red")}
    async with serving(store_url, data, keys=keys, teams=teams) as (gateway, one, _, wire):
        hold = asyncio.Event()
        one.answers = [Answer(hold=hold), said()]
        async with gateway.client(key_text(2)) as bob:
            form = {"file": ("x.wav", WAV)}
            runs = asyncio.ensure_future(bob.post("/audio/transcriptions", data={"model": "whisper-1"}, files=form))
            await one.request()
            await reload(gateway, configured(data, upstream("a", one.url)))
            assert (await bob.get("/models")).status_code == 401
            assert (await post(wire)).status == 200
            ended = await runs  # the upstream never answers it
        assert (ended.status_code, ended.json()["error"]["code"]) == (401, "invalid_api_key")
        register = Register(gateway.app.connection, gateway.app.live.config, pepper=PEPPER, door="test")
        assert (await register.roll.key("bob")).state == "revoked"
        assert (await register.roll.team("red")).state == "dropped"


async def test_a_name_that_operators_took_changes_nothing_at_all(
    store_url: str, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(store_url, data) as (gateway, one, _, wire):
        register = Register(gateway.app.connection, gateway.app.live.config, pepper=PEPPER, door="test")
        await register.make_key(Key("bob", "default"))
        await register.make_team(Team("red"))
        keys = gateway.app.live.config.keys
        for taken in (
            {"keys": {**keys, "bob": Key("bob", "blue")}, "teams": {"blue": Team("blue"), "default": Team("default")}},
            {"keys": {**keys, "carol": Key("carol", "blue")}, "teams": {"blue": Team("blue"), "red": Team("red")}},
        ):
            caplog.clear()
            before = gateway.app.live.config
            await reload(gateway, configured(data, upstream("b", one.url), **taken))
            assert "made by hand; choose another in the file" in caplog.text
            assert "nothing is changed" in caplog.text
            assert gateway.app.live.config is before
            assert [row.team.name for row in await register.roll.teams()] == ["default", "red"]
            assert [row.key.name for row in await register.roll.keys()] == ["alice", "bob"]
        assert (await post(wire)).status == 200
        (record,) = await gateway.records()
    assert record["upstream"] == "a"


TOKEN = "k7Qz-9fLw2xB4vNcR8"
FILE = """\
server: {{port: {port}, admin_token: "{token}"}}
store: {{data: {folder}, url: ""}}
upstreams: {{{name}: {{kind: openai, base_url: "{url}", allow_private: true, models: [whisper-1]}}}}
keys: {{alice: {{key: {key}}}}}
"""


def written(data: Path, url: str, *, name: str = "a", port: str = "8080", folder: str = "x", token: str = "") -> Path:
    path = data / "gateway.yaml"
    path.write_text(FILE.format(port=port, folder=folder, name=name, url=url, key=key_text(), token=token))
    return path


def test_a_wrong_file_is_told_line_by_line(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(data, "ftp://x", port="many")
    assert read_again(replace(configured(data), file=str(path))) is None
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [line.partition(": ")[0] for _, line in lines[:2]] == [f"{path}:1", f"{path}:3"]
    assert lines[2:] == [("ERROR", f"{path} was read again and cannot be used; nothing is changed")]
    path.unlink()
    caplog.clear()
    assert read_again(replace(configured(data), file=str(path))) is None
    assert "the file cannot be read" in caplog.text


def test_what_takes_a_restart_is_told_in_one_line_and_stays(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = load(written(data, "http://a"), {})
    written(data, "http://b", port="1", folder="y", token=TOKEN)
    found = read_again(now)
    assert found is not None
    assert (found.server, found.store) == (Server(admin_token=TOKEN), now.store)
    assert found.market.upstreams[0].base_url == "http://b"
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line == f"server.port, store.data: changed in {now.file}; restart the gateway to apply this"
    caplog.clear()
    assert read_again(now, remarks=False) == found
    assert caplog.records == []


async def test_asking_reads_the_file_once_however_often_and_brings_it_to_the_store_once_that_is_there(
    store_url: str, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with serving(store_url, data) as (gateway, one, _, wire):
        url = "unix:///nowhere/store.sock"

        tries: list[str] = []

        async def bring(other: Config) -> None:
            tries.append(url)
            await declare(other, url)

        async def tried() -> int:
            return len(tries)

        live = gateway.app.live
        live.config = replace(live.config, file=str(written(data, one.url, name="b")))
        reloads = Reloads(now=lambda: live.config, declare=bring, follow=live.follow)
        task = asyncio.ensure_future(_repeat(reloads))
        for _ in range(5):
            reloads.ask()
        await until(tried, lambda count: count >= 3)
        assert [one.name for one in live.config.market.upstreams] == ["a"]
        written(data, one.url, name="c")
        reloads.ask()  # while it waits for the store: the file counts as it is now
        url = live.config.store.url
        await until(lambda: _said(caplog, "counts from the next request on"), bool)
        assert (await post(wire)).status == 200
        (record,) = await gateway.records()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert record["upstream"] == "c"
    assert await _said(caplog, "counts once the store answers") == 1
    assert await _said(caplog, "counts from the next request on") == 1


async def test_a_file_that_has_changed_is_read_once_good_or_bad_and_while_it_waits_for_the_store(
    data: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOOK_SECONDS", "AGAIN_SECONDS"):
        monkeypatch.setattr(f"gateway.reload.{name}", 0.002)
    caplog.set_level(logging.INFO)
    live = [load(written(data, "http://a"), {})]
    away, tries = False, [0]

    async def bring(_: Config) -> None:
        tries[0] += 1
        if away:
            raise refuse("store_down")

    def follow(config: Config) -> None:
        live.append(config)

    async def tried() -> int:
        return tries[0]

    task = asyncio.ensure_future(_repeat(Reloads(now=lambda: live[-1], declare=bring, follow=follow)))
    written(data, "http://bb")
    await until(lambda: _said(caplog, "counts from the next request on"), bool)
    written(data, "ftp://ccc")
    await until(lambda: _said(caplog, "nothing is changed"), bool)
    away, before = True, tries[0]
    written(data, "http://dddd")
    await until(tried, lambda count: count >= before + 3)
    written(data, "http://eeeee")
    await until(tried, lambda count: count >= before + 20)
    away = False
    await until(lambda: _said(caplog, "counts from the next request on"), lambda count: count == 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [config.market.upstreams[0].base_url[7:] for config in live] == ["a", "bb", "eeeee"]
    assert await _said(caplog, "nothing is changed") == 1


def test_a_file_that_is_written_while_it_is_read_is_not_used(
    data: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = load(written(data, "http://a"), {})

    def slowly(path: Path, environ: Mapping[str, str]) -> Config:
        found = load(path, environ)
        written(data, "http://bb")
        return found

    monkeypatch.setattr("gateway.reload.load", slowly)
    assert read_again(now) is None
    assert "is being written; it is read again once it is left alone" in caplog.text


def test_the_file_is_looked_at_once_a_second_however_often_somebody_asks(data: Path) -> None:
    seconds = [0.0]
    looks = Looks(load(written(data, "http://a"), {}), clock=lambda: seconds[0])
    written(data, "http://bb")
    found = []
    for now in (0.1, 0.9, 1.0, 1.1, 1.9, 2.0, 3.0):
        seconds[0] = now
        found.append(looks.changed())
    assert found == [False] * 5 + [True, False]
    nowhere = Looks(configured(data), clock=lambda: seconds[0])
    seconds[0] = 9.0
    nowhere.note()
    assert nowhere.changed() is False


async def _repeat(reloads: Reloads) -> None:
    while True:
        await reloads.next()


async def _said(caplog: pytest.LogCaptureFixture, words: str) -> int:
    return sum(words in record.getMessage() for record in caplog.records)


async def test_what_nobody_expected_is_logged_and_the_old_configuration_goes_on(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    followed: list[Config] = []

    async def broken(config: Config) -> None:
        raise ZeroDivisionError

    one = Reloads(now=lambda: configured(data), declare=broken, follow=followed.append)
    assert await one.apply(configured(data))
    assert followed == []
    assert "ZeroDivisionError" in caplog.text
