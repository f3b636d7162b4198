"""`audiogate usage` and `audiogate requests`: what was used, and the records of single requests."""

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from gateway.cli.usage_table import clock, dollars
from gateway.policy.ids import request_id
from tests.launched import config_of, room, run

KID, NOW = "1b2C3d4E5f", datetime.now(UTC)
RIDS = [request_id(int(NOW.timestamp() * 1000), number.to_bytes(10, "big")) for number in range(4)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A room of its own."""
    with room() as one:
        yield one


@pytest.fixture
def filled(folder: Path, store_url: str) -> str:
    """The path of a configuration whose store has something in it."""
    sums = {"requests": 1234, "errors": 2, "usd": 1_234_567_891, "ms": 3_661_250, "characters": 7, "cost": 5}
    with redis.Redis.from_url(store_url) as client:
        client.hset("{ag}:names", "alice", KID)
        for unit, form in (("hour", "%Y%m%d%H"), ("day", "%Y%m%d")):
            for name, amount in sums.items():
                client.hset(f"{{ag}}:{unit}:{NOW.strftime(form)}", f"red|{KID}|whisper-1|a|speech|{name}", amount)
        for number, rid in enumerate(RIDS):
            fields = {"id": rid, "at": f"{NOW.timestamp():.3f}", "key": KID, "team": "red", "model": "m\x1b[31m"}
            more = {"status": 200 + 300 * (number % 2), "cost_micro_usd": 6000, "audio_ms": 61_230, "error": ""}
            client.xadd("{ag}:usage", {**fields, **more}, id=f"{int(NOW.timestamp() * 1000)}-{number}")
    return config(folder, store_url)


def config(folder: Path, url: str) -> str:
    return config_of(
        folder,
        f"store: {{url: '{url}', data: data}}",
        "usage: {keep: 90d}",
        "upstreams: {a: {kind: openai, base_url: 'http://127.0.0.1:9/v1', allow_private: true, models: [m]}}",
        "prices: {m: free}",
    )


def said(folder: Path, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    done = run(folder, *arguments, AUDIOGATE_CONFIG="gateway.yaml")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def words_of(line: str) -> list[str]:
    return line.split()


def test_sums_are_a_table_with_a_total(folder: Path, filled: str) -> None:
    lines = said(folder, "usage", "--by", "hour,team,key", "--since", "24h").stdout.splitlines()
    (row,) = [words_of(line) for line in lines if " red " in line]
    hour = NOW.strftime("%Y-%m-%dT%H:00Z")
    assert row == [hour, "red", "alice", "1,234", "2", "61:01.2", "7", "$1,234.567891", "$0.000005"]
    (total,) = [words_of(line) for line in lines if "total" in line]
    assert total == ["total", *row[3:]]
    assert any("upstream cost" in line for line in lines)


def test_the_cost_at_upstreams_is_a_column_where_it_is_known(folder: Path, filled: str, store_url: str) -> None:
    with redis.Redis.from_url(store_url) as client:
        client.hdel(f"{{ag}}:day:{NOW.strftime('%Y%m%d')}", f"red|{KID}|whisper-1|a|speech|cost")
    assert "upstream cost" not in said(folder, "usage", "--by", "team").stdout
    (row,) = json.loads(said(folder, "usage", "--by", "team", "--json").stdout)
    assert row == {
        "team": "red",
        "requests": 1234,
        "errors": 2,
        "audio_seconds": 3661.25,
        "characters": 7,
        "input_tokens": 0,
        "output_tokens": 0,
        "cost_usd": "1234.567891",
        "upstream_cost_usd": "0",
    }


def test_months_and_filters(folder: Path, filled: str) -> None:
    month = NOW.strftime("%Y-%m")
    found = said(folder, "usage", "--by", "month,team", "--since", month, "--team", "red", "--key", "alice", "--json")
    assert [(row["month"], row["team"]) for row in json.loads(found.stdout)] == [(month, "red")]
    for option, value in (("team", "blue"), ("model", "tts-1"), ("upstream", "b"), ("route", "other")):
        done = said(folder, "usage", "--by", "team", f"--{option}", value)
        assert done.stdout.startswith("Nothing was used: ")
        assert json.loads(said(folder, "usage", "--by", "team", f"--{option}", value, "--json").stdout) == []
    assert "There is no key called 'bob'." in said(folder, "usage", "--key", "bob", code=1).stderr


@pytest.mark.parametrize(
    ("micro", "text"), [(0, "$0.000000"), (1, "$0.000001"), (2**53, "$9,007,199,254.740992"), (-6000, "$-0.006000")]
)
def test_dollars_are_exact(micro: int, text: str) -> None:
    assert dollars(micro) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0:00.0"), (59_949, "0:59.9"), (59_951, "1:00.0"), (3_661_250, "61:01.2"), (600_000, "10:00.0")],
)
def test_audio_is_minutes_and_seconds(ms: int, text: str) -> None:
    assert clock(ms) == text


def test_a_request_is_shown_by_its_id(folder: Path, filled: str) -> None:
    lines = said(folder, "requests", "show", RIDS[1]).stdout.splitlines()
    facts = dict(line.split(":", 1) for line in lines)
    assert facts["id"].strip() == RIDS[1]
    assert (facts["status"].strip(), facts["cost_micro_usd"].strip()) == ("500", "6000")
    assert facts["model"].strip() == "m\ufffd[31m", "nothing that steers a terminal"
    assert "error" not in facts
    (row,) = json.loads(said(folder, "requests", "show", RIDS[1], "--json").stdout)["data"]
    assert (row["id"], row["model"], row["audio_ms"]) == (RIDS[1], "m\x1b[31m", 61_230)


def test_a_correction_is_shown_behind_what_it_corrects(folder: Path, filled: str, store_url: str) -> None:
    rid = request_id(int(NOW.timestamp() * 1000), bytes(9) + b"x")
    with redis.Redis.from_url(store_url) as client:
        client.xadd("{ag}:usage", {"id": rid, "error": "expired", "cost_micro_usd": 300})
        client.xadd("{ag}:usage", {"id": rid, "takes_back": 300, "cost_micro_usd": 120})
    first, _, second = said(folder, "requests", "show", rid).stdout.partition("\ncorrected by:\n")
    assert "expired" in first
    assert "300" in second
    assert len(json.loads(said(folder, "requests", "show", rid, "--json").stdout)["data"]) == 2


def test_a_request_that_left_no_record_is_told_with_how_long_records_are_kept(folder: Path, filled: str) -> None:
    rid = request_id(int(NOW.timestamp() * 1000), bytes(10)[:-1] + b"z")
    done = said(folder, "requests", "show", rid, code=1)
    assert done.stderr == (
        f"audiogate: There is no record of '{rid}'. Requests that were let in leave one as they end. "
        "Records are kept for 90 days, and until they are exported.\n"
    )


def test_the_last_requests_are_listed(folder: Path, filled: str) -> None:
    lines = said(folder, "requests", "list").stdout.splitlines()
    rows = [words_of(line) for line in lines if "req_" in line]
    assert [row[1] for row in rows] == RIDS[::-1]
    assert "\x1b" not in "".join(lines)
    assert rows[0][-4:] == ["500", "1:01.2", "0", "$0.006000"]
    found = json.loads(said(folder, "requests", "list", "--last", "2", "--json").stdout)
    assert [row["id"] for row in found["data"]] == [RIDS[3], RIDS[2]]
    assert found["next"] == found["data"][-1]["cursor"]
    found = json.loads(said(folder, "requests", "list", "--before", found["next"], "--json").stdout)
    assert ([row["id"] for row in found["data"]], found["next"]) == ([RIDS[1], RIDS[0]], None)
    errors = said(folder, "requests", "list", "--errors", "--key", "alice", "--team", "red").stdout
    assert [words_of(line)[1] for line in errors.splitlines() if "req_" in line] == [RIDS[3], RIDS[1]]
    assert said(folder, "requests", "list", "--team", "blue").stdout == "There are no such records.\n"


def test_every_look_is_written_down(folder: Path, filled: str, store_url: str) -> None:
    said(folder, "usage", "--json")
    said(folder, "requests", "list")
    said(folder, "requests", "show", RIDS[0])
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        deeds = [(one["door"], one["action"], one["what"]) for _, one in client.xrange("{ag}:audit")]
    assert deeds == [("cli", "usage.show", "*"), ("cli", "requests.list", "*"), ("cli", "requests.show", RIDS[0])]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("usage", "--since", "yesterday"), "got 'yesterday'"),
        (("usage", "--until", "2026-13"), "got '2026-13'"),
        (("usage", "--since", "401d"), "sums of days are kept for 400 days"),
        (("usage", "--since", "91d", "--by", "hour"), "sums of hours are kept for 90 days"),
        (("usage", "--since", "1d", "--until", "3d"), "is later than the end"),
        (("usage", "--by", "day,colour"), "colour: choose from hour, day, month, team"),
        (("requests",), ""),
        (("requests", "show"), "Missing argument"),
        (("requests", "show", "req_1"), "expected req_ and 32 hexadecimal digits, got 'req_1'"),
        (("requests", "list", "--last", "0"), "greater than or equal to 1"),
        (("requests", "list", "--before", "x"), "expected a cursor such as 1767225600000-0, got 'x'"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else "",
)
def test_wrong_usage_is_told_with_code_2(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    config(folder, "unix:///nowhere")
    done = said(folder, *arguments, code=2)
    told = " ".join((done.stdout + done.stderr).replace("│", " ").split())
    assert "Usage:" in told
    assert words in told


def test_a_store_that_is_away_is_one_sentence(folder: Path) -> None:
    config(folder, "unix:///nowhere")
    for arguments in (("usage",), ("requests", "list"), ("requests", "show", RIDS[0])):
        done = said(folder, *arguments, code=1)
        assert len(done.stderr.splitlines()) == 1
