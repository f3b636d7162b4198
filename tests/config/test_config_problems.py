"""Every mistake: its line, its path, and what an operator is told."""

from pathlib import Path

import pytest

from gateway.config.load import ConfigError, load
from gateway.errors import SetupError
from gateway.policy.keys import DRAW_BYTES, mint
from tests.config.told import GOOD, found, problems

KEY_A = mint(bytes(range(DRAW_BYTES)))
SAME_ID = mint(bytes(range(8)) + b"x" * (DRAW_BYTES - 8))


def test_the_good_file_is_good(tmp_path: Path) -> None:
    assert found(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("addition", "path", "message"),
    [
        ("sever: {}", "sever", "unknown key; did you mean 'server'?"),
        ("server: {prot: 1}", "server.prot", "unknown key; did you mean 'port'?"),
        ("server: {zzz: 1}", "server.zzz", "unknown key"),
        ("server: 3", "server", "expected a mapping, got '3'"),
        ("server: {port: abc}", "server.port", "expected a whole number from 1 to 65535, got 'abc'"),
        ("server: {port: 0}", "server.port", "expected a whole number from 1 to 65535, got '0'"),
        ("server: {port: 1.5}", "server.port", "expected a whole number from 1 to 65535, got '1.5'"),
        ("server: {port: [1]}", "server.port", "expected a whole number from 1 to 65535, got a list"),
        ("server: {port: }", "server.port", "expected a whole number from 1 to 65535, got nothing"),
        (
            'server: {port: "${PORT}"}',
            "server.port",
            "expected a whole number from 1 to 65535, got what '${PORT}' stands for",
        ),
        ("server: {log: jsn}", "server.log", "expected json or text, got 'jsn'; did you mean 'json'?"),
        ("server: {host: a b}", "server.host", "expected a host name or IP address, got 'a b'"),
        (
            "store: {url: 'http://:pw@x'}",
            "store.url",
            "expected nothing or an address such as redis://host:6379/0",
        ),
        ("store: {pepper: short}", "store.pepper", "expected nothing or at least 16 characters"),
        ("store: {data: ''}", "store.data", "expected a folder's path, got ''"),
        ('store: {data: "a\\0"}', "store.data", "expected a folder's path, got 'a\\x00'"),
        (
            "store: {data: ~nobody-of-this-name/x}",
            "store.data",
            "'~' stands for a home folder that is not known here; write the path out",
        ),
        (
            "uploads: {max_bytes: 25 miles}",
            "uploads.max_bytes",
            "expected a number of bytes such as 26214400 or 25MiB (KB, MB, GB, KiB, MiB, GiB), got '25 miles'",
        ),
        (
            "uploads: {total_bytes: 1KiB}",
            "uploads.total_bytes",
            "expected at least max_bytes (26214400 bytes), got 1024 bytes",
        ),
        ("teams: {x y: {}}", "teams.x y", "expected a name of 1 to 64 letters, digits, '.', '_' or '-', got 'x y'"),
        ("teams: {r: {models: []}}", "teams.r.models", "expected at least one entry, got a list"),
        ("teams: {r: {models: whisper-1}}", "teams.r.models", "expected a list, got 'whisper-1'"),
        ("teams: {r: {models: }}", "teams.r.models", "expected a list, got nothing"),
        ("teams: {r: {upstreams: [aa]}}", "teams.r.upstreams[0]", "no upstream is called 'aa'; did you mean 'a'?"),
        ("keys: {k: {upstreams: [a, x]}}", "keys.k.upstreams[1]", "no upstream is called 'x'"),
        ("keys: {k: {team: defalt}}", "keys.k.team", "no team is called 'defalt'; did you mean 'default'?"),
        (
            "keys: {k: {key: sk-secret}}",
            "keys.k.key",
            "expected a key that audiogate made (ag_…), got a mistyped or a foreign one; empty: one is made",
        ),
        ("keys: {k: {key: a b}}", "keys.k.key", "expected a key without spaces"),
        (
            f"keys: {{k: {{key: {KEY_A}}}, l: {{key: {KEY_A}}}}}",
            "keys.l.key",
            "this has the same id as keys.k.key; every key needs its own",
        ),
        (
            f"keys: {{k: {{key: {KEY_A}}}, l: {{key: {SAME_ID}}}}}",
            "keys.l.key",
            "this has the same id as keys.k.key; every key needs its own",
        ),
        (
            "keys: {k: {expires: 2027-02-30}}",
            "keys.k.expires",
            "expected a date such as 2027-01-01 or 2027-01-01T00:00:00Z, got '2027-02-30'",
        ),
        ("keys: {k: {revoked: maybe}}", "keys.k.revoked", "expected true or false, got 'maybe'"),
    ],
)
def test_a_mistake_is_told(tmp_path: Path, addition: str, path: str, message: str) -> None:
    assert found(tmp_path, GOOD + addition + "\n", PORT="a secret") == [(7, path, message)]


def test_a_missing_field_is_told_at_the_row_that_lacks_it(tmp_path: Path) -> None:
    text = "prices: {m: free}\nupstreams:\n  u:\n    models: [m]\n    kind: openai\n"
    assert found(tmp_path, text) == [(3, "upstreams.u.base_url", "this is missing, and it has no default")]


@pytest.mark.parametrize(
    ("text", "line", "path", "message"),
    [
        ("", 1, "upstreams", "this is missing, and it has no default"),
        ("server: {}\n", 1, "upstreams", "this is missing, and it has no default"),
        ("[]\n", 1, "", "expected a mapping, got a list"),
        ("hello\n", 1, "", "expected a mapping, got 'hello'"),
        ("server: {}\nupstreams:\n", 2, "upstreams", "expected at least one entry, got nothing"),
        ("server: {}\nupstreams: [a]\n", 2, "upstreams", "expected a mapping, got a list"),
        ("a: [\n", 2, "", "not valid YAML: expected the node content, but found '<stream end>'"),
    ],
)
def test_a_file_without_upstreams_is_told(tmp_path: Path, text: str, line: int, path: str, message: str) -> None:
    assert found(tmp_path, text) == [(line, path, message)]


def test_common_prices_that_are_no_mapping_leave_no_other_trace(tmp_path: Path) -> None:
    text = GOOD.replace("prices: {whisper-1: {per_minute: 0.006}}", "prices: 3")
    assert found(tmp_path, text) == [(6, "prices", "expected a mapping, got '3'")]
    text = GOOD.replace("0.006", "x")
    ((line, path, _words),) = found(tmp_path, text)
    assert (line, path) == (6, "prices.whisper-1.per_minute")


def test_an_upstream_without_a_key_is_told_even_if_no_variable_could_give_one(tmp_path: Path) -> None:
    text = GOOD.replace("    kind: newapi\n", "    kind: newapi\n    key: ''\n")
    assert found(tmp_path, text) == [(1, "upstreams", "no upstream has a key; write one under `key`")]


def test_an_unset_variable_is_told_once_and_has_no_consequences(tmp_path: Path) -> None:
    text = GOOD.replace("kind: newapi", "kind: newapi\n    key: ${SECRET}").replace("[whisper-1]", "['${MODEL}']")
    words = "the environment variable {0} is not set; set it, or write ${{{0}:-default}}"
    assert found(tmp_path, text + "server: {port: '${PORT}'}\n") == [
        (4, "upstreams.a.key", words.format("SECRET")),
        (6, "upstreams.a.models[0]", words.format("MODEL")),
        (8, "server.port", words.format("PORT")),
    ]
    text = GOOD.replace("kind: newapi", "kind: newapi\n    key: ${SECRET}")
    assert found(tmp_path, text) == [(4, "upstreams.a.key", words.format("SECRET"))]


def test_all_mistakes_are_told_at_once_and_in_order(tmp_path: Path) -> None:
    text = """\
server: {port: 0, prot: 1}
store: &s {fsync: never}
upstreams:
  a: {kind: newapi, base_url: "https://a", models: [m, n]}
  b: {kind: nope, base_url: x, models: [m]}
  b c: {kind: newapi, base_url: "https://a", models: [m]}
  "on": {kind: newapi, base_url: "https://a", models: [m]}
prices: {m: {per_minute: x}}
teams:
  r: {upstreams: [b, c], limits: [{measure: usd, per: day, amount: 0}]}
  r: {}
keys:
  k: {team: r, expires: soon}
  l: {team: s, key: x}
  m: {team: r, key: "${NONE}"}
"""
    lines = [
        (1, "server.port"),
        (1, "server.prot"),
        (2, ""),
        (2, "store.fsync"),
        (4, "upstreams.a.models[1]"),
        (5, "upstreams.b.kind"),
        (5, "upstreams.b.base_url"),
        (6, "upstreams.b c"),
        (8, "prices.m.per_minute"),
        (10, "teams.r.upstreams[1]"),
        (10, "teams.r.limits[0].amount"),
        (11, "teams.r"),
        (13, "keys.k.expires"),
        (14, "keys.l.team"),
        (14, "keys.l.key"),
        (15, "keys.m.key"),
    ]
    assert [(line, path) for line, path, _words in found(tmp_path, text)] == lines


def test_the_error_reads_as_one_line_per_problem(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(GOOD + 'server: {port: 0}\n"a\\nb": 1\n')
    with pytest.raises(SetupError) as caught:
        load(file, {})
    assert str(caught.value).splitlines() == [
        f"{file}:7: server.port: expected a whole number from 1 to 65535, got '0'",
        f"{file}:8: a\\nb: unknown key",
    ]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    file = tmp_path / "none.yaml"
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    words = "the file cannot be read (No such file or directory); `audiogate init` writes one"
    assert str(caught.value) == f"{file}: {words}"


def test_secrets_are_not_repeated(tmp_path: Path) -> None:
    text = GOOD.replace("kind: newapi", "kind: newapi\n    key: hidden secret") + (
        "store: {url: 'x://hidden', pepper: hidden}\nkeys: {k: {key: hidden}}\nserver: {port: '${S}'}\n"
    )
    told = problems(tmp_path, text, S="hidden")
    assert len(told) == 5
    assert "hidden" not in str(told)


def test_long_texts_are_cut_off(tmp_path: Path) -> None:
    ((_line, _path, words),) = found(tmp_path, GOOD + f"server: {{log: {'x' * 1000}}}\n")
    assert len(words) < 120
