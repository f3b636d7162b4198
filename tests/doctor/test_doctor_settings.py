"""What the doctor says of the file, the variables, the terminal and who may come in."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.model import Server
from gateway.doctor import CHECKS, examined
from gateway.doctor.finding import Finding, Scene, scene
from gateway.doctor.settings import configuration, exposure, terminal, variables
from gateway.policy.keys import mint
from tests.launched import config_of
from tests.running import configured

UPSTREAM = "upstreams: {one: {kind: openai, base_url: 'http://10.0.0.1/v1', allow_private: true, models: [tts-1]"
GOOD = (UPSTREAM + "}}", "server: {port: 8091}")
KEYED = (UPSTREAM + ", key: '${UP:-}'}}", "store: {url: '${STORE:-}'}")
KEY = mint(bytes(33))


def of(folder: Path, *lines: str, **environ: str) -> Scene:
    """The scene around a file of these lines."""
    return scene(Path(config_of(folder, *lines)), environ, clock=lambda: 0.0)


def verdicts(found: list[Finding]) -> list[str]:
    return [one.verdict for one in found]


def test_a_good_file_is_told_with_what_is_left_out(tmp_path: Path) -> None:
    assert verdicts(configuration(of(tmp_path, *GOOD))) == ["ok"]
    two = UPSTREAM + "}, two: {kind: newapi, base_url: 'https://x.example/v1', key: '${UP:-}', models: [tts-1]}}"
    found = configuration(of(tmp_path, two))
    assert verdicts(found) == ["ok", "ok"]
    assert "set UP to use it" in found[1].what


def test_each_mistake_is_a_problem_with_its_line(tmp_path: Path) -> None:
    found = configuration(of(tmp_path, "server: {port: many}", "upstreams: 3"))
    assert verdicts(found) == ["problem", "problem"]
    assert [one.what.split(": ")[0] for one in found] == [f"{tmp_path}/gateway.yaml:{line}" for line in (1, 2)]


def test_a_file_that_is_not_there_is_one_sentence_and_init_the_remedy(tmp_path: Path) -> None:
    (one,) = configuration(scene(tmp_path / "none.yaml", {}, clock=lambda: 0.0))
    assert one.verdict == "problem"
    assert "audiogate init" in one.remedy
    assert [name for name, _ in examined(scene(tmp_path / "none.yaml", {}, clock=lambda: 0.0))] == [
        check.name for check in CHECKS if not check.configured
    ]


def test_what_a_file_without_a_usable_upstream_says_of_the_rest_is_looked_at(tmp_path: Path) -> None:
    found = of(tmp_path, *KEYED)
    assert found.error is not None
    assert found.known.server.port == 8080
    assert "set UP" in configuration(found)[0].what


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("'sk-secret'", "quotation marks"),
        ("“sk-secret”", "quotation marks"),
        (" sk-secret", "spaces around"),
        ("sk-secret\n", "a line break"),
        ("sk-secret\r", "a line break"),
        ("  ", "nothing but spaces"),
        ("Bearer sk-secret", "begins with 'Bearer'"),
        (KEY, "key of a gateway"),
    ],
)
def test_what_does_not_belong_to_a_value_is_told_without_the_value(tmp_path: Path, value: str, words: str) -> None:
    (one,) = variables(of(tmp_path, *KEYED, UP=value))
    assert (one.verdict, words in one.what) == ("problem", True)
    assert one.what.startswith("UP (upstreams.one.key)")
    assert one.remedy
    assert "sk-secret" not in one.what + one.remedy
    assert KEY not in one.what + one.remedy


def test_clean_variables_and_those_that_are_not_set_are_right(tmp_path: Path) -> None:
    for environ in ({}, {"UP": "sk-1"}, {"UP": ""}, {"UP": "it's"}):
        (one,) = variables(of(tmp_path, *KEYED, **environ))
        assert (one.verdict, "(2)" in one.what) == ("ok", True)
    (one,) = variables(of(tmp_path, *KEYED, STORE="'redis://x'"))
    assert one.what.startswith("STORE (store.url)")
    assert verdicts(variables(scene(tmp_path / "none", {}, clock=lambda: 0.0))) == ["ok"]


def test_whoever_may_claim_any_address_is_a_problem(tmp_path: Path) -> None:
    base = of(tmp_path, *GOOD)
    for network, verdict in (("0.0.0.0/0", "problem"), ("::/0", "problem"), ("10.0.0.0/8", "ok")):
        config = replace(configured(tmp_path), server=Server(trusted_proxies=(network,)))
        assert verdicts(exposure(replace(base, config=config))) == [verdict]
    config = replace(configured(tmp_path), server=Server(host="0.0.0.0"))
    (one,) = exposure(replace(base, config=config))
    assert (one.verdict, "admin_token" in one.what) == ("problem", True)
    config = replace(configured(tmp_path), server=Server(host="0.0.0.0", admin_token="k7Qz-9fLw2xB4vNcR8"))
    (one,) = exposure(replace(base, config=config))
    assert (one.verdict, "other machines" in one.what) == ("ok", True)


HERE = "http://127.0.0.1:8091/v1"


@pytest.mark.parametrize(
    ("base_url", "key", "verdict", "words"),
    [
        ("", "", "ok", "are not set"),
        (HERE, KEY, "ok", "fit each other"),
        ("https://api.example.com/v1/", "sk-1", "ok", "fit each other"),
        ("", "sk-1", "ok", "fit each other"),
        ("http://me:secret@127.0.0.1:8091", KEY, "warning", "http://127.0.0.1:8091, which does not end in /v1"),
        (HERE, KEY[:-1], "problem", "mistyped or cut off"),
        ("", KEY, "warning", "OPENAI_BASE_URL is not set"),
        (HERE, "sk-1", "problem", "none of its keys"),
        ("http://localhost:8091/v1", "sk-1", "problem", "none of its keys"),
        ("http://127.0.0.1:x/v1", "sk-1", "ok", "fit each other"),
    ],
)
def test_what_an_sdk_in_this_terminal_would_do(
    tmp_path: Path, base_url: str, key: str, verdict: str, words: str
) -> None:
    (one,) = terminal(of(tmp_path, *GOOD, OPENAI_BASE_URL=base_url, OPENAI_API_KEY=key))
    assert (one.verdict, one.verdict == "ok" or bool(one.remedy)) == (verdict, True)
    assert words in one.what
    assert "secret" not in one.what


def test_a_check_that_fails_is_a_problem_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Scene) -> list[Finding]:
        raise ZeroDivisionError("by nothing")

    rows = (replace(CHECKS[0], look=broken), CHECKS[1])
    monkeypatch.setattr("gateway.doctor.CHECKS", rows)
    found = list(examined(of(tmp_path, *GOOD)))
    assert [(name, one.verdict) for name, one in found] == [("software", "problem"), ("configuration", "ok")]
    assert "ZeroDivisionError: by nothing" in found[0][1].what
