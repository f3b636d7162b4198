"""What the file says arrives in the values that the other rooms use."""

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.config.model import Config, Key, Server, Store, Team, Uploads
from gateway.policy.keys import DRAW_BYTES, mint
from gateway.policy.limits import Limit
from gateway.policy.openai_prices import PRICES as SHIPPED
from gateway.policy.pricing import FREE, Price, find
from gateway.upstreams import KINDS

UPSTREAM = "{kind: openai, base_url: 'https://a.example/v1/', models: [whisper-1]"
PRICES = "prices: {whisper-1: free}\n"


def built(tmp_path: Path, text: str, **environ: str) -> Config:
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    return load(file, environ)


def test_a_small_file_has_all_the_defaults(tmp_path: Path) -> None:
    config = built(tmp_path, f"upstreams: {{a: {UPSTREAM}}}}}\n{PRICES}server:\nkeys:\nteams: {{r: }}\nuploads:\n")
    assert config.server == Server()
    assert config.store == Store(data=Path("data"))
    assert config.uploads == Uploads()
    assert config.teams == {"default": Team("default"), "r": Team("r")}
    assert config.keys == {}
    assert config.notes == ()
    (upstream,) = config.market.upstreams
    assert upstream.base_url == "https://a.example/v1"
    assert upstream.key is None
    assert upstream.can == KINDS["openai"].can
    assert (upstream.priority, upstream.weight) == (1, 1)
    assert (upstream.connect_timeout, upstream.first_byte_timeout, upstream.idle_timeout) == (5, None, 60)
    assert config.market.prices == {"a": {**SHIPPED, "whisper-1": FREE}}


def test_everything_can_be_set(tmp_path: Path) -> None:
    key = mint(bytes(DRAW_BYTES))
    text = f"""\
server: {{host: "::", port: "${{PORT:-9000}}", workers: 2, log: text, admin_token: "0123456789abcdef"}}
store: {{url: "redis://:${{file:{tmp_path}/password}}@r/0", data: ~/ag, fsync: "no", pepper: 0123456789abcdef,
             on_unavailable: closed, grace_usd: 0.25, on_expired: mark}}
uploads: {{max_bytes: 1KB, memory_bytes: "2 KiB", total_bytes: 3MB, folder: /tmp/x}}
upstreams:
  a:
    kind: newapi
    base_url: http://[::1]:8000
    allow_private: true
    key: ${{K}}
    models: {{whisper-1: large, "my-*": "*"}}
    priority: 2
    weight: 3
    can: {{routes: [speech], formats: [json], containers: [wav, webm], stream: yes, chunked: "true"}}
    timeouts: {{connect: 0.5, first_byte: 1, idle: 2}}
    limits: [{{measure: usd, per: day, amount: 0.000001}}, {{measure: concurrency, amount: 3}}]
    prices: {{"*": {{per_minute: 0.0300}}}}
teams:
  r: {{models: ["whisper-*"], upstreams: [a], limits: [{{measure: audio_seconds, per: total, amount: 1.5}}],
      note: of the lab, timezone: Asia/Shanghai}}
keys:
  k: {{team: r, key: {key}, models: [m], upstreams: [a], expires: 2027-01-01, revoked: on,
      ips: [10.0.0.0/8, "::1"], note: "x: y", exact: yes, limits: [{{measure: characters, per: hour, amount: 1e3}},
              {{measure: requests, per: minute, amount: 60, burst: 10}}, {{measure: requests, per: hour, amount: 9}}]}}
  l: {{expires: "2027-01-01T01:00:00+01:00"}}
  m: {{expires: 2027-01-01 00:00, key: }}
"""
    (tmp_path / "password").write_text("pw\n")
    config = built(tmp_path, text, K="sk-1")
    assert config.server == Server("::", 9000, 2, "text", "0123456789abcdef")
    assert config.file == str(tmp_path / "gateway.yaml")
    assert config.store == Store(
        data=Path.home() / "ag",
        url="redis://:pw@r/0",
        fsync="no",
        pepper=b"0123456789abcdef",
        on_unavailable="closed",
        grace_usd=Decimal("0.25"),
        on_expired="mark",
    )
    assert config.uploads == Uploads(1000, 2048, 3_000_000, Path("/tmp/x"))
    (upstream,) = config.market.upstreams
    assert upstream.base_url == "http://[::1]:8000"
    assert upstream.key == "sk-1"
    assert upstream.models == {"whisper-1": "large", "my-*": "*"}
    assert (upstream.priority, upstream.weight) == (2, 3)
    assert (upstream.can.routes, upstream.can.formats) == (frozenset({"speech"}), frozenset({"json"}))
    assert upstream.can.containers == frozenset({"wav", "webm"})
    assert upstream.can.stream
    assert upstream.can.chunked
    assert (upstream.connect_timeout, upstream.first_byte_timeout, upstream.idle_timeout) == (0.5, 1, 2)
    assert config.upstream_limits == {"a": (Limit("usd", "day", 1), Limit("concurrency", "", 3))}
    assert config.teams["r"] == Team(
        "r", ("whisper-*",), ("a",), (Limit("audio_seconds", "total", 1500),), "of the lab", "Asia/Shanghai"
    )
    assert config.keys["k"] == Key(
        "k",
        "r",
        text=key,
        models=("m",),
        upstreams=("a",),
        limits=(Limit("characters", "hour", 1000), Limit("requests", "minute", 60, 10), Limit("requests", "hour", 9)),
        expires=1_798_761_600.0,
        revoked=True,
        ips=("10.0.0.0/8", "::1/128"),
        note="x: y",
        exact=True,
    )
    assert config.keys["l"] == Key("l", "default", expires=1_798_761_600.0)
    assert config.keys["m"] == Key("m", "default", expires=1_798_761_600.0)


def test_lists_of_models_keep_their_names_and_patterns_stand_for_the_same_name(tmp_path: Path) -> None:
    config = built(
        tmp_path, "upstreams: {a: {kind: openai, base_url: 'http://a', models: [m, 'n*']}}\nprices: {'*': free}"
    )
    assert config.market.upstreams[0].models == {"m": "m", "n*": "*"}


@pytest.mark.parametrize(
    ("text", "micro"),
    [("0.1", 100_000), ("0.3", 300_000), ("1.005", 1_005_000), ("9007199254.740992", 2**53), ("8.1e1", 81_000_000)],
)
def test_amounts_are_exact(tmp_path: Path, text: str, micro: int) -> None:
    limits = f"teams: {{r: {{limits: [{{measure: usd, per: day, amount: {text}}}]}}}}\n"
    config = built(tmp_path, f"upstreams: {{a: {UPSTREAM}}}}}\n{PRICES}{limits}")
    assert config.teams["r"].limits[0].amount == micro


@pytest.mark.parametrize("text", ["0.1", "0.006", "0.000000000001", "1000000", "2.50"])
def test_prices_are_the_decimals_that_were_written(tmp_path: Path, text: str) -> None:
    config = built(tmp_path, f"upstreams: {{a: {UPSTREAM}}}}}\nprices: {{whisper-1: {{per_request: {text}}}}}\n")
    assert config.market.prices["a"]["whisper-1"] == Price(per_request=Decimal(text))


def test_an_upstreams_own_price_goes_before_the_common_one(tmp_path: Path) -> None:
    text = """\
upstreams:
  a: {kind: openai, base_url: "http://a", models: ["*"], prices: {"whisper-?": {per_minute: 1}, tts-1: free}}
  b: {kind: openai, base_url: "http://b", models: ["*"]}
prices:
  whisper-1: {per_minute: 2}
  "whisper-*": {per_minute: 3}
  "*": {per_minute: 4}
  tts-1: {per_minute: 5}
  other: {per_minute: 6}
"""
    prices = built(tmp_path, text).market.prices
    names = ("whisper-1", "whisper-22", "tts-1", "other", "x")
    rows = {name: [find(prices[name], model) for model in names] for name in ("a", "b")}
    assert [price and price.per_minute for price in rows["a"]] == [1, 3, 0, 6, 4]
    assert [price and price.per_minute for price in rows["b"]] == [2, 3, 5, 6, 4]


def test_an_upstream_is_left_out_when_its_key_is_given_but_empty(tmp_path: Path) -> None:
    rows = f"  a: {UPSTREAM}, key: '${{A:-}}${{B:-}}'}}\n  b: {UPSTREAM}, key: }}\n  c: {UPSTREAM}}}\n"
    config = built(tmp_path, f"upstreams:\n{rows}{PRICES}keys: {{k: {{upstreams: [a, c]}}}}\n")
    assert [upstream.name for upstream in config.market.upstreams] == ["c"]
    assert set(config.market.prices) == set(config.upstream_limits) == {"c"}
    assert config.keys["k"].upstreams == ("a", "c")
    assert config.notes == (
        "upstream a is left out because its key is empty; set A and B to use it",
        "upstream b is left out because its key is empty; write one to use it",
    )


def test_secrets_do_not_show_in_reprs(tmp_path: Path) -> None:
    key = mint(bytes(DRAW_BYTES))
    text = f"upstreams: {{a: {UPSTREAM}, key: sk-hidden}}}}\n{PRICES}keys: {{k: {{key: {key}}}}}\n"
    shown = repr(
        built(tmp_path, text + "store: {pepper: hidden-hidden-hidden}\nserver: {admin_token: hidden-hidden-hidden}\n")
    )
    assert key not in shown
    assert "hidden" not in shown
