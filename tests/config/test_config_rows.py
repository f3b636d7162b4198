"""Mistakes in limits and upstreams: their lines, their paths, and what an operator is told."""

from pathlib import Path

import pytest

from tests.config.told import GOOD, found


@pytest.mark.parametrize(
    ("limit", "part", "message"),
    [
        ("{measure: usb, per: day, amount: 1}", ".measure", "expected usd, audio_seconds, characters, requests or"),
        ("{measure: usd, per: dya, amount: 1}", ".per", "expected minute, hour, day, month or total, got 'dya'; did"),
        ("{measure: usd, amount: 1}", ".per", "this is missing: usd are counted per period"),
        ("{measure: concurrency, per: day, amount: 1}", ".per", "expected no period"),
        ("{measure: usd, per: day}", ".amount", "this is missing, and it has no default"),
        ("{measure: usd, per: day, amount: 0}", ".amount", "expected more than 0, got '0'"),
        ("{measure: usd, per: day, amount: -1}", ".amount", "expected a number of 0 or more such as 20 or 0.5, got '-"),
        ("{measure: usd, per: day, amount: .nan}", ".amount", "expected a number"),
        ("{measure: usd, per: day, amount: .inf}", ".amount", "expected a number"),
        ("{measure: usd, per: day, amount: 1_000}", ".amount", "expected a number"),
        ("{measure: usd, per: day, amount: 0.0000001}", ".amount", "expected at most 6 decimals, got '0.0000001'"),
        ("{measure: usd, per: day, amount: 9007199254.740993}", ".amount", "expected at most 9007199254.740992, got"),
        ("{measure: requests, per: day, amount: 1e99}", ".amount", "expected at most 9007199254740992, got '1e99'"),
        ("{measure: audio_seconds, per: day, amount: 0.0001}", ".amount", "expected at most 3 decimals"),
        ("{measure: requests, per: day, amount: 1.5}", ".amount", "expected a whole number, got '1.5'"),
        ("usd", "", "expected a mapping, got 'usd'"),
        ("{measure: requests, per: minute, amount: 9, burst: 0}", ".burst", "expected a whole number from 1 to"),
        ("{measure: requests, per: minute, amount: 9, burst: 1.5}", ".burst", "expected a whole number from 1 to"),
        ("{measure: requests, per: minute, amount: 9, burst: 10}", ".burst", "expected it with requests per minute or"),
        ("{measure: requests, per: day, amount: 9, burst: 1}", ".burst", "expected it with requests per minute or"),
        ("{measure: usd, per: minute, amount: 9, burst: 1}", ".burst", "expected it with requests per minute or"),
        ("{measure: concurrency, amount: 9, burst: 1}", ".burst", "expected it with requests per minute or"),
    ],
)
@pytest.mark.parametrize("owner", ["teams: {r: ", "keys: {r: "])
def test_a_bad_limit_is_told(tmp_path: Path, owner: str, limit: str, part: str, message: str) -> None:
    text = f"{GOOD}{owner}{{limits: [\n{limit}]}}}}\n"
    ((line, path, words),) = found(tmp_path, text)
    assert (line, path) == (8, f"{owner.split(':')[0]}.r.limits[0]{part}")
    assert words.startswith(message)


def test_a_pair_of_measure_and_period_stands_once_in_a_list(tmp_path: Path) -> None:
    text = GOOD + (
        "teams:\n"
        "  r:\n"
        "    limits:\n"
        "      - {measure: usd, per: day, amount: 1}\n"
        "      - {measure: usd, per: month, amount: 1}\n"
        "      - {measure: usd, per: day, amount: 2}\n"
        "      - {measure: concurrency, amount: 1}\n"
        "      - {measure: concurrency, amount: 1}\n"
    )
    assert found(tmp_path, text) == [
        (12, "teams.r.limits[2].measure", "usd per day is limited twice in this list; write it once"),
        (14, "teams.r.limits[4].measure", "concurrency is limited twice in this list; write it once"),
    ]


@pytest.mark.parametrize(
    ("field", "path", "message"),
    [
        ("kind: newpai", "kind", "expected openai or newapi, got 'newpai'; did you mean 'newapi'?"),
        ("base_url: ftp://a", "base_url", "expected an address such as https://api.example.com/v1, got 'ftp://a'"),
        ("base_url: https://", "base_url", "expected an address"),
        ("base_url: https://a:0", "base_url", "expected an address"),
        ("base_url: https://a:port", "base_url", "expected an address"),
        ("base_url: https://[", "base_url", "expected an address"),
        ("base_url: https://me:pw@a/v1", "base_url", "expected an address without user name and password"),
        ("base_url: https://a/v1?x=1", "base_url", "expected an address without query"),
        ("base_url: 'https://a/v1#x'", "base_url", "expected an address without query"),
        ("key: 'sk 1'", "key", "expected a key without spaces"),
        ("models: []", "models", "expected at least one entry"),
        ("models: whisper-1", "models", "expected a list or a mapping of models, got 'whisper-1'"),
        ("models: [whisper-1, {a: b}]", "models[1]", "expected a model's name or a pattern with *, ? or [], got a map"),
        ("models: [m, ' x']", "models[1]", "expected a model's name or a pattern with *, ? or [], got ' x'"),
        ("models: {' x': m}", "models. x", "expected a model's name or a pattern with *, ? or [], got ' x'"),
        (
            "models: {whisper-1: }",
            "models.whisper-1",
            "expected a model's name or a pattern with *, ? or [], got nothi",
        ),
        ("models: [whisper-1, sing-1]", "models[1]", "'sing-1' has no price; write one under prices"),
        ("models: {sing-1: tts-1}", "models.sing-1", "'sing-1' has no price; write one under prices"),
        ("models: ['whisper*']", "models[0]", "'whisper*' has no price; write one under prices"),
        ("priority: -1", "priority", "expected a whole number from 0 to 1000, got '-1'"),
        ("weight: 0", "weight", "expected a whole number from 1 to 1000, got '0'"),
        ("can: {routes: [sing]}", "can.routes[0]", "expected transcription, translation, speech or other, got 'sing'"),
        (
            "can: {formats: [xml]}",
            "can.formats[0]",
            "expected json, text, srt, verbose_json, vtt or diarized_json, got",
        ),
        ("can: {containers: [mp33]}", "can.containers[0]", "expected wav, mp3"),
        ("can: {strem: true}", "can.strem", "unknown key; did you mean 'stream'?"),
        ("timeouts: {idle: 0}", "timeouts.idle", "expected seconds, more than 0 and at most 86400, got '0'"),
        ("limits: [{measure: usd, amount: 1}]", "limits[0].per", "this is missing"),
        ("prices: {whisper-1: fre}", "prices.whisper-1", "expected a mapping of prices or the word free, got 'fre'"),
        ("prices: {whisper-1: {}}", "prices.whisper-1", "nothing here costs anything"),
        ("prices: {whisper-1: {per_minute: 0.00}}", "prices.whisper-1", "nothing here costs anything"),
        ("prices: {whisper-1: {per_minute: 0e9, per_request: 0}}", "prices.whisper-1", "nothing here costs anything"),
        ("prices: {whisper-1: {per_minut: 1}}", "prices.whisper-1.per_minut", "unknown key; did you mean 'per_minute'"),
        ("prices: {whisper-1: {per_minute: -1}}", "prices.whisper-1.per_minute", "expected US dollars from 0 to"),
        ("prices: {whisper-1: {per_minute: .nan}}", "prices.whisper-1.per_minute", "expected US dollars from 0 to"),
        ("prices: {whisper-1: {per_minute: 1e7}}", "prices.whisper-1.per_minute", "expected US dollars from 0 to"),
        ("prices: {whisper-1: {per_minute: 1e-20}}", "prices.whisper-1.per_minute", "expected US dollars from 0 to"),
    ],
)
def test_a_bad_upstream_is_told(tmp_path: Path, field: str, path: str, message: str) -> None:
    name = field.split(":")[0]
    fields = {"kind": "kind: newapi", "base_url": "base_url: https://a", "models": "models: [whisper-1]"}
    text = "prices: {whisper-1: {per_minute: 1}}\nupstreams:\n  u:\n"
    rows = [*(row for key, row in fields.items() if key != name), field]
    text += "".join(f"    {row}\n" for row in rows)
    ((line, where, words),) = found(tmp_path, text)
    assert (line, where) == (3 + len(rows), f"upstreams.u.{path}")
    assert words.startswith(message)


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("server: {admin_token: too-short}", "server.admin_token", "expected nothing or at least 16 characters"),
        ("server: {admin_token: 'with spaces in it'}", "server.admin_token", "expected nothing or at least 16"),
        ("keys: {k: {ips: []}}", "keys.k.ips", "expected at least one entry"),
        ("keys: {k: {ips: [10.0.0.1/8]}}", "keys.k.ips[0]", "expected an address or a network such as 10.0.0.0/8"),
        ("keys: {k: {ips: [10.0.0.0/33]}}", "keys.k.ips[0]", "expected an address or a network such as 10.0.0.0/8"),
        ("keys: {k: {ips: ['fe80::1%eth0']}}", "keys.k.ips[0]", "expected an address or a network"),
        ('keys: {k: {note: "a\\nb"}}', "keys.k.note", "expected at most 500 characters on one line"),
        ("teams: {t: {ips: [10.0.0.0/8]}}", "teams.t.ips", "unknown key"),
        ("teams: {t: {timezone: Mars/Base}}", "teams.t.timezone", "expected a time zone such as Asia/Shanghai"),
        ("teams: {t: {timezone: Asia}}", "teams.t.timezone", "expected a time zone such as Asia/Shanghai"),
        ("teams: {t: {timezone: ../Asia/Shanghai}}", "teams.t.timezone", "expected a time zone such as Asia/Shanghai"),
        ("teams: {t: {timezone: }}", "teams.t.timezone", "expected a time zone such as Asia/Shanghai"),
        ("teams: {t: {exact: true}}", "teams.t.exact", "unknown key"),
        ("keys: {k: {exact: perhaps}}", "keys.k.exact", "expected true or false, got 'perhaps'"),
        ("keys: {k: {timezone: UTC}}", "keys.k.timezone", "unknown key"),
        ("store: {on_expired: forget}", "store.on_expired", "expected charge, refund or mark, got 'forget'"),
    ],
)
def test_what_operators_set_is_checked(tmp_path: Path, text: str, path: str, message: str) -> None:
    ((line, where, words),) = found(tmp_path, f"{GOOD}{text}\n")
    assert (line, where) == (7, path)
    assert words.startswith(message)
    assert "too-short" not in words
    assert "spaces in it" not in words
