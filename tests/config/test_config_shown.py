"""What a configuration comes to, as people and pages are shown it: everything but the secrets."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from gateway.config import rows, schema
from gateway.config.load import load
from gateway.config.model import Config
from gateway.config.problem import ConfigError
from gateway.config.shown import HIDDEN, shown
from gateway.policy.keys import mint

SHIPPED = Path(__file__).parents[2] / "config/gateway.yaml"
KEY = mint(bytes(33))
SECRETS = {
    "ADMIN": "k7Qz-9fLw2xB4vNcR8",
    "METRICS": "m2Wp-4sKd8yH6tJbV1",
    "URL": "redis://:p4ssw0rd@127.0.0.1:1/0",
    "PEPPER": "z9Xc-1vBn5mA3qWeR7",
    "HEADERS": "authorization=Basic%20b4v7n1",
    "UPSTREAM": "sk-9d8f7a6b5c",
    "KEY": KEY,
}
FULL = """\
server: {host: "::1", port: 81, admin_token: "${ADMIN}", metrics_token: "${METRICS}", trusted_proxies: [10.0.0.0/8],
         timeouts: {body: 7.5}}
store: {url: "${URL}", pepper: "${PEPPER}", grace_usd: 0.000001, timeout: 1, data: here}
uploads: {max_bytes: 1MiB, folder: /tmp}
usage: {keep: 90d, trim: always}
telemetry: {endpoint: "http://127.0.0.1:4318", headers: "${HEADERS}", sample: 0.5}
upstreams:
  one: {kind: newapi, base_url: "https://one.example/v1", key: "${UPSTREAM}", models: [whisper-1, "*"], multiplier: 1.5,
        can: {routes: [speech, transcription], stream: true}, prices: {tts-1: {per_1m_characters: 0.123456789012}},
        limits: [{measure: requests, per: minute, amount: 60, burst: 7}, {measure: concurrency, amount: 4}]}
  two: {kind: openai, base_url: "http://127.0.0.1:9/v1", allow_private: true, models: {a: b}, balance: auto}
prices: {"*": free, b: {per_minute: 0.006, per_request: 1}}
teams: {red: {models: ["whisper-*"], upstreams: [one], timezone: Asia/Shanghai, note: "a: b"}}
keys: {alice: {team: red, key: "${KEY}", expires: 2027-01-01, ips: [10.0.0.0/8], exact: true,
               limits: [{measure: usd, per: month, amount: 0.5}]}, bob: {revoked: true}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file in which everything is written that can be."""
    path = tmp_path / "gateway.yaml"
    path.write_text(FULL)
    return path


def put_in_again(node: object, secrets: Iterator[str]) -> object:
    """What was shown, with the secrets in their places: they come in the order of the schema."""
    if isinstance(node, Mapping):
        return {name: put_in_again(value, secrets) for name, value in node.items()}
    if isinstance(node, list):
        return [put_in_again(value, secrets) for value in node]
    return next(secrets) if node == HIDDEN else node


def facts(config: Config) -> dict[str, object]:
    """All that a configuration means, but for where it was read."""
    return {one.name: getattr(config, one.name) for one in fields(config) if one.name not in ("notes", "file", "sight")}


@pytest.mark.parametrize("text", [FULL, SHIPPED.read_text()], ids=["full", "shipped"])
def test_it_means_the_same_once_the_secrets_are_put_in_again(tmp_path: Path, text: str) -> None:
    path, again = tmp_path / "a.yaml", tmp_path / "b.yaml"
    path.write_text(text)
    environ = {**SECRETS, "AIGC369_API_KEY": "sk-1", "FOURALLAPI_API_KEY": "sk-2"}
    secrets = SECRETS.values() if text == FULL else ("sk-1", "sk-2")
    whole = put_in_again(shown(path, environ), iter(secrets))
    again.write_text(yaml.safe_dump(whole, sort_keys=False))
    assert facts(load(again, {})) == facts(load(path, environ))


def test_no_secret_is_in_it_and_every_one_has_its_place(file: Path) -> None:
    found = json.dumps(shown(file, SECRETS), ensure_ascii=False)
    assert not [secret for secret in SECRETS.values() if secret in found]
    assert found.count(HIDDEN) == len(SECRETS)
    assert "p4ssw0rd" not in found


def test_every_field_that_can_hold_a_secret_is_one_of_those() -> None:
    """A new secret field has to be in the file above, or this test does not cover it."""
    kinds = {one for room in (rows, schema) for one in vars(room).values() if isinstance(one, type)}
    hidden = {
        (kind.__name__, name)
        for kind in kinds
        if issubclass(kind, BaseModel)
        for name, field in kind.model_fields.items()
        if not field.repr
    }
    assert len(hidden) == len(SECRETS), hidden


def test_defaults_are_filled_in_and_what_a_kind_can_do(file: Path) -> None:
    found = shown(file, SECRETS)
    server, store, upstreams = (found[name] for name in ("server", "store", "upstreams"))
    assert isinstance(server, dict)
    assert (server["workers"], server["timeouts"]["body"], server["timeouts"]["header"]) == (1, 7.5, 10)
    assert isinstance(store, dict)
    assert (store["grace_usd"], store["fsync"], store["data"]) == (0.000001, "everysec", "here")
    assert isinstance(upstreams, dict)
    assert upstreams["one"]["can"]["routes"] == ["speech", "transcription"]
    assert upstreams["one"]["can"]["stream"] is True
    assert upstreams["one"]["can"]["chunked"] is False
    assert "mp3" in upstreams["one"]["can"]["containers"]
    assert "containers" not in upstreams["two"]["can"]  # all of them
    assert [one["balance"] for one in upstreams.values()] == ["auto", "auto"]
    assert upstreams["one"]["prices"] == {"tts-1": {"per_1m_characters": 0.123456789012}}
    assert upstreams["one"]["limits"][1] == {"measure": "concurrency", "amount": 4}
    assert found["prices"] == {"*": "free", "b": {"per_minute": 0.006, "per_request": 1}}
    assert found["usage"] == {"keep": 90 * 86400, "trim": "always", "alarm": 1_000_000}


def test_teams_and_keys_are_as_they_count(file: Path) -> None:
    found = shown(file, SECRETS)
    teams, keys = found["teams"], found["keys"]
    assert isinstance(teams, dict)
    assert list(teams) == ["default", "red"]
    assert teams["default"] == {"limits": [], "note": "", "timezone": "UTC"}
    assert isinstance(keys, dict)
    assert keys["alice"]["expires"] == "2027-01-01T00:00:00Z"
    assert keys["bob"] == {"limits": [], "note": "", "team": "default", "key": "", "revoked": True, "exact": False}


def test_an_amount_that_no_number_can_hold_is_a_text(file: Path) -> None:
    file.write_text(FULL.replace("0.123456789012", "654321.123456789012"))
    upstreams = shown(file, SECRETS)["upstreams"]
    assert isinstance(upstreams, dict)
    assert upstreams["one"]["prices"]["tts-1"]["per_1m_characters"] == "654321.123456789012"


def test_an_upstream_without_a_key_is_shown_and_a_wrong_file_is_refused(file: Path) -> None:
    upstreams = shown(file, {**SECRETS, "UPSTREAM": ""})["upstreams"]
    assert isinstance(upstreams, dict)
    assert upstreams["one"]["key"] == ""
    assert "key" not in upstreams["two"]
    file.write_text("server: 3")
    with pytest.raises(ConfigError):
        shown(file, SECRETS)
