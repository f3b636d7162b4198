"""new-api's tables: what becomes of its channels, tokens, users and ratios."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import SetupError
from gateway.imports.emit import emit
from gateway.imports.sources import tables
from gateway.policy.limits import Limit
from gateway.policy.pricing import Price
from tests.imports.importing import CORPUS, NEW_API, about, database, draft_of, loaded, said


def answer(folder: Path, *rows: dict[str, Any]) -> Path:
    """A file with these rows, which stand in a list."""
    file = folder / "rows.json"
    file.write_text(json.dumps(rows))
    return file


CHANNEL = {
    "id": 1,
    "type": 1,
    "key": "sk-0123456789abc",
    "status": 1,
    "name": "one",
    "models": "whisper-1",
    "priority": 0,
}
TOKEN = {
    "id": 1,
    "user_id": 1,
    "status": 1,
    "name": "t",
    "unlimited_quota": True,
    "remain_quota": 0,
    "expired_time": -1,
}


def test_channels_become_upstreams_and_higher_first_becomes_lower_first(tmp_path: Path) -> None:
    config = loaded(draft_of("new-api", *NEW_API), tmp_path)
    found = {
        one.name: (one.kind.name, one.base_url, one.models, one.priority, one.weight) for one in config.market.upstreams
    }
    local = ("openai", "http://10.0.0.7:8000/v1", {"whisper-1": "whisper-1"}, 2, 1000)
    assert found == {
        "OpenAI-main": ("openai", "https://api.openai.com/v1", {"whisper-1": "whisper-1", "tts-1": "tts-1"}, 1, 1),
        "channel-2": (
            "newapi", "https://relay.example.com/v1",
            {"whisper-1": "whisper-1", "my-whisper": "whisper-large-v3"}, 2, 2,
        ),
        "local": local,
        "local-2": local,
    }  # fmt: skip


def test_tokens_become_keys_of_teams_with_what_is_left_as_limits(tmp_path: Path) -> None:
    config = loaded(draft_of("new-api", *NEW_API), tmp_path)
    laptop, nightly = config.keys["laptop-of"], config.keys["nightly"]
    assert set(config.keys) == {"laptop-of", "nightly"}
    assert laptop.limits == (Limit("usd", "total", 2_500_000),)
    assert (laptop.models, laptop.ips) == (("whisper-1",), ("10.1.0.0/16", "2001:db8::1/128"))
    assert (laptop.note, laptop.text, laptop.expires) == ("laptop of 小明", None, None)
    assert (nightly.limits, nightly.models, nightly.ips, nightly.expires) == ((), None, None, 1893456000.0)
    teams = {name: (team.upstreams, team.limits) for name, team in config.teams.items() if name != "default"}
    wallet = (Limit("usd", "total", 20_000_000),)
    assert teams == {
        "ming": (("OpenAI-main", "local", "local-2"), wallet),
        "ming-vip": (("OpenAI-main", "channel-2"), wallet),
    }


def test_ratios_are_prices(tmp_path: Path) -> None:
    market = loaded(draft_of("new-api", *NEW_API), tmp_path).market
    relay = next(one for one in market.upstreams if one.name == "channel-2")
    assert market.price(relay, "whisper-1") == Price(per_minute=Decimal("0.03"))
    assert market.price(relay, "tts-1") == Price(per_1m_characters=Decimal(15))
    assert market.price(relay, "my-whisper") == Price(per_request=Decimal("0.004"))


def test_without_ratios_the_list_price_counts_or_none_is_known(tmp_path: Path) -> None:
    draft = draft_of("new-api", CORPUS / "channels.json")
    market = loaded(draft, tmp_path).market
    relay = next(one for one in market.upstreams if one.name == "channel-2")
    assert market.price(relay, "whisper-1") == Price(per_minute=Decimal("0.006"))
    assert market.price(relay, "my-whisper") == Price()
    assert about(draft, r"to do \| channel 2 聚合: my-whisper: price \| none is known for whisper-large-v3")


def test_models_by_tokens_need_both_ratios(tmp_path: Path) -> None:
    options = [{"key": "ModelRatio", "value": '{"gpt-4o-transcribe": 1.25, "gpt-4o-mini-tts": 0.3}'},
               {"key": "CompletionRatio", "value": '{"gpt-4o-transcribe": 4}'}]  # fmt: skip
    channel = CHANNEL | {"models": "gpt-4o-transcribe,gpt-4o-mini-tts"}
    market = loaded(draft_of("new-api", answer(tmp_path, channel, *options)), tmp_path).market
    tokens = Price(per_1m_input_tokens=Decimal("2.5"), per_1m_output_tokens=Decimal(10))
    assert market.price(market.upstreams[0], "gpt-4o-transcribe") == tokens
    listed = Price(per_1m_input_tokens=Decimal("0.6"), per_1m_output_tokens=Decimal(12))
    assert market.price(market.upstreams[0], "gpt-4o-mini-tts") == listed


def test_nothing_is_left_out_without_a_line_and_no_secret_is_told() -> None:
    draft = draft_of("new-api", *NEW_API)
    lines = said(draft)
    for kind, count in (("channel", 6), ("token", 7)):
        for number in range(1, count + 1):
            assert any(f"| {kind} {number} " in line for line in lines), (kind, number)
    for setting in (
        "header_override",
        "gpt-4o",
        "GroupRatio",
        "SMTPToken",
        "user banned",
        "nonsense",
        "numbers 1",
        "roles",
    ):
        assert any(setting in line for line in lines), setting
    assert about(draft, "changed .*user ming, group vip: quota")
    shown = emit(draft) + "\n".join(lines) + repr(draft)
    for secret in (
        "of-the-aggregator",
        "sk-one",
        "sk-two",
        "sk-three",
        "secret-header",
        "mail-password",
        "a-hash",
        "wxyz",
    ):
        assert secret not in shown, secret
    assert draft.secrets == {
        "UPSTREAM_CHANNEL_2_KEY": "sk-of-the-aggregator-0123456789",
        "UPSTREAM_LOCAL_KEY": "sk-one-0123456789",
        "UPSTREAM_LOCAL_2_KEY": "sk-three-0123456789",
    }


def test_the_database_says_the_same_as_the_api(tmp_path: Path) -> None:
    rows = {name: rows for path in NEW_API for name, rows in tables(path).items() if rows}
    flat = {
        name: [
            {field: json.dumps(value).encode() if isinstance(value, dict) else value for field, value in row.items()}
            for row in some
        ]
        for name, some in rows.items()
    }
    path = database(tmp_path / "one-api.db", flat)
    before = path.read_bytes()
    from_database, from_files = draft_of("new-api", path), draft_of("new-api", *NEW_API)
    assert emit(from_database) == emit(from_files)
    assert from_database.secrets == from_files.secrets
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["one-api.db"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda row: [row],
        lambda row: row,
        lambda row: {"data": [row]},
        lambda row: {"success": True, "data": row},
        lambda row: {"success": True, "data": {"items": [row], "total": 1}},
        lambda row: {"channels": [row], "tokens": [TOKEN]},
    ],
)
def test_answers_are_found_in_any_envelope(tmp_path: Path, wrap: Any) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(wrap(CHANNEL)))
    assert [one.name for one in draft_of("new-api", file).upstreams] == ["one"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"status": 3}, "disabled by new-api"),
        ({"type": 24}, "Gemini"),
        ({"type": 999}, "type 999"),
        ({"type": "many"}, "type many"),
        ({"type": 8}, "no address"),
        ({"base_url": "ftp://h"}, "its address is none"),
        ({"base_url": "http://169.254.169.254"}, "its address is none"),
        ({"models": "gpt-4o"}, "no model"),
        ({"models": "whisper-*"}, "no model"),
        ({"models": None}, "no model"),
    ],
)
def test_channels_that_cannot_be_taken_over_say_why(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    draft = draft_of("new-api", answer(tmp_path, CHANNEL | change))
    assert draft.upstreams == []
    assert [line for line in about(draft, "left out .*channel 1 one") if why in line], said(draft)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"name": "a/b c"}, "a-b-c"),
        ({"name": "令牌"}, "token-1"),
        ({"name": "x" * 200}, "x" * 56),
        ({"remain_quota": 10**30}, "t"),
        ({"unlimited_quota": False, "remain_quota": 10**20}, "t"),
        ({"unlimited_quota": False, "remain_quota": 1}, "t"),
        ({"expired_time": 10**18}, "t"),
    ],
)
def test_odd_tokens_become_keys_all_the_same(tmp_path: Path, change: dict[str, Any], key: str) -> None:
    config = loaded(draft_of("new-api", answer(tmp_path, CHANNEL, TOKEN | change)), tmp_path)
    assert list(config.keys) == [key]
    assert config.keys[key].team == "user-1"


def test_a_quota_of_one_is_a_limit_of_two_millionths(tmp_path: Path) -> None:
    token = TOKEN | {"unlimited_quota": False, "remain_quota": 1}
    (key,) = loaded(draft_of("new-api", answer(tmp_path, CHANNEL, token)), tmp_path).keys.values()
    assert key.limits == (Limit("usd", "total", 2),)


def test_mappings_that_go_in_circles_end(tmp_path: Path) -> None:
    channel = CHANNEL | {"model_mapping": '{"whisper-1": "b", "b": "whisper-1"}'}
    assert draft_of("new-api", answer(tmp_path, channel)).upstreams[0].models == {"whisper-1": "b"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "neither an SQLite database nor valid JSON"),
        (b"\xff\xfe", "neither"),
        (b"[" * 100_000, "neither"),
        (b"1" * 10_000, "neither"),
        (b'{"a": NaN}', "neither"),
        (b"3", "no channels, tokens, users or options"),
        (b"[]", "no channels"),
        (b'{"success": false, "message": "no"}', "the request failed"),
        (json.dumps([TOKEN]).encode(), "There are no channels in it"),
        (b"SQLite format 3\x00" + bytes(100), "cannot be read as an SQLite database"),
        (b"SQLite format 3\x00" + b"\xff" * 5000, "cannot be read as an SQLite database"),
    ],
)
def test_what_is_nothing_of_new_api_is_one_sentence(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "x"
    file.write_bytes(content)
    with pytest.raises(SetupError, match=why) as error:
        draft_of("new-api", file)
    assert "\n" not in str(error.value)


def test_another_database_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no table `channels`"):
        draft_of("new-api", database(tmp_path / "x.db", {"things": [{"a": 1}]}))
