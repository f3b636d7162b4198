"""The file that comes with the gateway works as it stands."""

import re
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest
import yaml

from gateway.config.load import ConfigError, environment, load
from gateway.config.schema import json_schema, schema_text
from gateway.policy.limits import Limit
from gateway.policy.pricing import FREE, Price
from gateway.policy.routing import ANY_AUDIO

FOLDER = Path(__file__).parents[2] / "config"
SHIPPED = FOLDER / "gateway.yaml"
EXAMPLE = re.compile(r'^( *)# ( *[\w"/*.-]+:(?: |$))')
STALE = (
    "stale: run .venv/bin/python -c 'from gateway.config.schema import schema_text; print(schema_text(), end=\"\")' "
    "> config/audiogate.schema.json"
)


def test_one_key_gives_one_upstream_and_a_note_on_the_other() -> None:
    config = load(SHIPPED, {"FOURALLAPI_API_KEY": "sk-4"})
    (upstream,) = config.market.upstreams
    assert (upstream.name, upstream.key, upstream.base_url) == ("4allapi", "sk-4", "https://api.4allapi.com/v1")
    assert upstream.can.routes == {"transcription"}
    assert upstream.can.formats == {"json"}
    assert upstream.can.stream is False
    assert config.upstream_limits == {"4allapi": ()}
    assert config.notes == ("upstream aigc369 is left out because its key is empty; set AIGC369_API_KEY to use it",)


def test_both_keys_give_both_upstreams() -> None:
    config = load(SHIPPED, {"AIGC369_API_KEY": "sk-1", "FOURALLAPI_API_KEY": "sk-2"})
    assert [(upstream.name, upstream.key) for upstream in config.market.upstreams] == [
        ("aigc369", "sk-1"),
        ("4allapi", "sk-2"),
    ]
    assert config.notes == ()
    first = config.market.upstreams[0]
    assert first.models == {"whisper-1": "whisper-1", "tts-1": "tts-1", "tts-1-hd": "tts-1-hd"}
    assert first.can.routes == {"transcription", "translation", "speech", "other"}
    assert first.can.formats == {"json", "text", "srt", "verbose_json", "vtt"}


def test_no_key_names_the_variables_to_set() -> None:
    with pytest.raises(ConfigError) as caught:
        load(SHIPPED, {})
    (problem,) = caught.value.problems
    assert problem.path == "upstreams"
    assert problem.message == "no upstream has a key; set AIGC369_API_KEY or FOURALLAPI_API_KEY"
    assert SHIPPED.read_text().splitlines()[(problem.line or 0) - 1] == "upstreams:"


def test_the_default_key_is_made_at_the_start_and_its_team_has_limits() -> None:
    config = load(SHIPPED, {"AIGC369_API_KEY": "sk-1"})
    assert config.keys["default"].text is None
    assert config.keys["default"].team == "default"
    assert config.teams["default"].limits == (Limit("usd", "month", 20_000_000), Limit("requests", "minute", 60))
    assert config.store.data == Path("data")
    assert config.store.pepper is None


def test_prices_are_exact() -> None:
    config = load(SHIPPED, {"AIGC369_API_KEY": "sk-1"})
    upstream, market = config.market.upstreams[0], config.market
    assert {model: market.price(upstream, model) for model in (*upstream.models, ANY_AUDIO)} == {
        "whisper-1": Price(per_minute=Decimal("0.006")),
        "tts-1": Price(per_1m_characters=Decimal(15)),
        "tts-1-hd": Price(per_1m_characters=Decimal(30)),
        ANY_AUDIO: FREE,
    }


def test_what_is_commented_out_is_valid_too(tmp_path: Path) -> None:
    lines = [EXAMPLE.sub(r"\1\2", line) for line in SHIPPED.read_text().splitlines()[14:]]
    file = tmp_path / "all.yaml"
    file.write_text("\n".join(lines))
    config = load(file, {"AIGC369_API_KEY": "sk-1", "FOURALLAPI_API_KEY": "sk-2"})
    assert [upstream.name for upstream in config.market.upstreams] == ["aigc369", "4allapi", "local"]
    assert config.keys["alice"].upstreams == ("aigc369", "4allapi")
    assert config.keys["alice"].expires == 1_798_761_600
    assert set(config.teams) == {"default", "research"}


def test_the_schema_is_up_to_date() -> None:
    assert (FOLDER / "audiogate.schema.json").read_text() == schema_text(), STALE


def test_the_schema_accepts_the_file_and_is_named_in_its_first_line() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(SHIPPED.read_text()))
    assert SHIPPED.read_text().splitlines()[0] == "# yaml-language-server: $schema=audiogate.schema.json"


def test_the_environment_is_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIOGATE_TEST", "1")
    seen = environment()
    monkeypatch.delenv("AUDIOGATE_TEST")
    assert seen["AUDIOGATE_TEST"] == "1"
