"""The configuration that `audiogate init` writes: the shipped one, made to fit, without a secret in it."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from gateway.config.load import load
from gateway.config.schema import json_schema
from gateway.config.template import OPENAI, keys_in, openai_at, template, timezone_of, written
from gateway.policy.keys import mint

SHIPPED = Path(__file__).parents[2] / "config/gateway.yaml"
SECRET = "sk-secret-of-mine"


def test_it_is_the_shipped_file_where_nothing_was_found() -> None:
    assert template() == SHIPPED.read_text()
    assert written({}) == written({}, timezone="UTC") == written({}, timezone="Etc/UTC") == template()


def test_what_was_found_out_is_in_it_and_it_is_right(tmp_path: Path) -> None:
    environ = {"OPENAI_API_KEY": SECRET, "AIGC369_API_KEY": SECRET}
    path = tmp_path / "gateway.yaml"
    path.write_text(written(environ, timezone="Asia/Shanghai", port=8085))
    assert SECRET not in path.read_text()
    assert path.read_text().startswith("# yaml-language-server: $schema=audiogate.schema.json\n")
    jsonschema.Draft202012Validator(json_schema()).validate(yaml.safe_load(path.read_text()))
    config = load(path, environ)
    assert (config.server.port, config.teams["default"].timezone) == (8085, "Asia/Shanghai")
    assert [(one.name, one.kind.name, one.key) for one in config.market.upstreams] == [
        ("aigc369", "newapi", SECRET),
        ("openai", "openai", SECRET),
    ]
    openai = config.market.upstreams[1]
    assert (openai.base_url, openai.allow_private) == (OPENAI, False)
    assert {"whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-tts"} <= set(openai.models)
    assert load(path, {**environ, "AUDIOGATE_PORT": "1"}).server.port == 1


@pytest.mark.parametrize(
    ("base_url", "private"),
    [
        ("http://localhost:8000/v1", True),
        ("http://10.1.2.3/v1/", True),
        ("http://whisper:8000/v1", True),
        ("https://api.example.com/v1", False),
        ("http://1.1.1.1/v1", False),
    ],
)
def test_another_server_is_taken_over_with_its_address(tmp_path: Path, base_url: str, private: bool) -> None:
    environ = {"OPENAI_API_KEY": SECRET, "OPENAI_BASE_URL": base_url}
    path = tmp_path / "gateway.yaml"
    path.write_text(written(environ))
    (one,) = load(path, environ).market.upstreams
    assert (one.base_url, one.allow_private, sorted(one.models)) == (
        base_url.rstrip("/"),
        private,
        ["tts-1", "whisper-1"],
    )


def test_a_key_of_a_gateway_and_an_address_that_is_none_make_no_upstream() -> None:
    for environ in (
        {"OPENAI_API_KEY": mint(bytes(33)), "OPENAI_BASE_URL": "http://127.0.0.1:8080/v1"},
        {"OPENAI_API_KEY": SECRET, "OPENAI_BASE_URL": "api.example.com"},
        {"OPENAI_API_KEY": SECRET, "OPENAI_BASE_URL": "https://me:secret@example.com/v1"},
        {"OPENAI_API_KEY": SECRET, "OPENAI_BASE_URL": "https://example.com/v1\n  key: x"},
        {"OPENAI_BASE_URL": OPENAI},
        {"OPENAI_API_KEY": " "},
    ):
        assert openai_at(environ) == ""
        assert keys_in(environ) == []
        assert written(environ) == template()


def test_the_keys_that_are_there_are_named() -> None:
    environ = {"OPENAI_API_KEY": "x", "FOURALLAPI_API_KEY": "y", "AIGC369_API_KEY": " "}
    assert keys_in(environ) == ["FOURALLAPI_API_KEY", "OPENAI_API_KEY"]


def test_the_time_zone_of_the_machine(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    assert timezone_of({}, tmp_path) == ""
    (etc / "localtime").symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    assert timezone_of({}, tmp_path) == "Europe/Berlin"
    (etc / "timezone").write_text("Asia/Tokyo\n")
    assert timezone_of({}, tmp_path) == "Asia/Tokyo"
    assert timezone_of({"TZ": ":America/Lima"}, tmp_path) == "America/Lima"
    assert timezone_of({"TZ": "CET-1CEST,M3.5.0,M10.5.0/3"}, tmp_path) == "Asia/Tokyo"
    (etc / "timezone").write_text("Nowhere/Land\n")
    (etc / "localtime").unlink()
    (etc / "localtime").symlink_to("elsewhere")
    assert timezone_of({}, tmp_path) == ""
