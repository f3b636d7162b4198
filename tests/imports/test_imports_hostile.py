"""Whatever stands in the files of others, the answer is a configuration that passes the check, or one sentence."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config.source import read
from gateway.errors import SetupError
from gateway.imports import litellm, newapi, sources
from gateway.imports.draft import Draft
from gateway.imports.emit import emit, named, quoted
from gateway.imports.proof import prove

T = TypeVar("T")
# Words that lead far into the code, and anything else.
WORDS = st.sampled_from(
    [
        "whisper-1", "tts-1", "openai/whisper-1", "groq/whisper", "hosted_vllm/w", "whisper-*", "*", "audio_speech",
        "audio_transcription", "os.environ/KEY", "os.environ/", "https://h.example/v1", "http://10.0.0.1", "http://[",
        "1d", "30d", "-1", "0", "1", "1e400", "1e-400", "NaN", "0.000015", "99999999999999999999", "true", "", "${X}",
        "$", "sk-0123456789", "a b", "whisper-1,tts-1", "default,vip", "10.0.0.0/8", "[1]", "{}", '{"whisper-1": "x"}',
    ]
)  # fmt: skip
SCALARS = st.one_of(WORDS, st.none(), st.booleans(), st.integers(), st.decimals(), st.text(max_size=8))
ANY = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=5,
)


def fields(*names: str) -> st.SearchStrategy[Any]:
    """Mappings with some of these names, or anything else in their place."""
    return st.one_of(st.fixed_dictionaries({}, optional=dict.fromkeys(names, ANY)), ANY)


PARAMS = fields(
    "model", "api_key", "api_base", "rpm", "tpm", "max_parallel_requests", "max_budget", "budget_duration", "order",
    "weight", "timeout", "custom_llm_provider", "litellm_credential_name", "input_cost_per_second",
    "input_cost_per_character",
)  # fmt: skip
INFO = fields("mode", "blocked", "input_cost_per_second", "output_cost_per_token", "id")
GOOD = st.fixed_dictionaries({"model_name": WORDS, "litellm_params": PARAMS}, optional={"model_info": INFO})
FILE = st.fixed_dictionaries(
    {"model_list": st.one_of(st.lists(st.one_of(GOOD, ANY), max_size=4), ANY)},
    optional={
        "credential_list": ANY,
        "router_settings": fields("fallbacks", "default_fallbacks", "model_group_alias", "num_retries"),
        "litellm_settings": fields("fallbacks", "max_budget", "budget_duration", "default_fallbacks"),
        "general_settings": fields("master_key", "max_request_size_mb"),
        "environment_variables": ANY,
    },
)
CHANNEL = st.fixed_dictionaries(
    {"id": ANY, "type": st.one_of(st.just(1), ANY), "models": st.one_of(st.just("whisper-1,tts-1"), ANY)},
    optional=dict.fromkeys(
        ("key", "name", "status", "weight", "base_url", "group", "model_mapping", "priority", "channel_info", "x"), ANY
    ),
)
TOKEN = st.fixed_dictionaries(
    {"user_id": st.one_of(st.just(1), ANY)},
    optional=dict.fromkeys(
        ("id", "name", "status", "expired_time", "remain_quota", "unlimited_quota", "model_limits_enabled",
         "model_limits", "allow_ips", "group", "deleted_at"), ANY),
)  # fmt: skip
USER = st.fixed_dictionaries(
    {"id": st.one_of(st.just(1), ANY)}, optional=dict.fromkeys(("username", "status", "quota", "group"), ANY)
)
OPTION = st.fixed_dictionaries(
    {
        "key": st.sampled_from(["ModelRatio", "ModelPrice", "GroupRatio", "QuotaPerUnit", "CompletionRatio"]),
        "value": ANY,
    }
)
quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def one_sentence(call: Callable[[], T]) -> T | None:
    """What a call gives; nothing where it ends with a SetupError, which is one sentence."""
    try:
        return call()
    except SetupError as error:
        words = str(error)
    assert words
    assert "\n" not in words
    return None


def passes(call: Callable[[], Draft]) -> None:
    """What was made of it passes our own check, and each line of the account is one."""
    draft = one_sentence(call)
    if draft is None:
        return
    if draft.upstreams:
        prove(draft, emit(draft))
    assert all("\n" not in line.what + line.how for line in draft.lines)


@quick
@given(FILE)
def test_any_types_anywhere_in_a_file_of_litellm(file: dict[str, object]) -> None:
    passes(lambda: litellm.convert([file]))


@quick
@given(
    st.lists(CHANNEL, max_size=3), st.lists(TOKEN, max_size=3), st.lists(USER, max_size=2), st.lists(OPTION, max_size=3)
)
def test_any_types_anywhere_in_the_tables_of_new_api(channels: Any, tokens: Any, users: Any, options: Any) -> None:
    rows = {"channels": channels, "tokens": tokens, "users": users, "options": options}
    passes(lambda: newapi.convert([rows]))


@quick
@given(st.text())
def test_every_text_is_read_again_as_it_was(text: str) -> None:
    fit = "".join(one for one in text if one.isprintable())
    source = read(f"a: {quoted(fit)}\n{named('k' + fit)}: [{quoted(fit)}, b]\n".encode(), {})
    assert source.problems == ()
    assert source.value == {"a": fit, "k" + fit: [fit, "b"]}


@quick
@given(
    st.one_of(st.binary(max_size=200), st.text(alphabet="&*!{}[]:-,#|>?'\"\n\t %@`a1<", max_size=60).map(str.encode))
)
def test_any_bytes_are_values_or_one_sentence(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(content)
    for reader in (sources.yaml_file, sources.tables):
        one_sentence(partial(reader, file))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a: [", "is not valid YAML"),
        (b"\xff", "no text in UTF-8"),
        (b"a: \x00", "is not valid YAML"),
        (b"a: &a [*a]", "endless"),
        (b"[" * 60, "levels"),
        (b"- x\n" * 300_000, "larger than"),
        (b"a: &a [1,1,1,1,1,1,1,1,1]\n"
         + b"".join(b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 8)) for n in range(9)),
         "endless"),
        (b"%YAML 99999999999999999999999.1\n---\na: b", "is not valid YAML"),
        (b"a: \"\\U99999999\"", "is not valid YAML"),
    ],
)  # fmt: skip
def test_bad_yaml_is_one_sentence(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    with pytest.raises(SetupError, match=why) as error:
        sources.yaml_file(file)
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("path", ["nothing", ".", "\x00"])
@pytest.mark.parametrize("reader", [sources.yaml_file, sources.tables])
def test_what_cannot_be_opened_is_one_sentence(tmp_path: Path, path: str, reader: Any) -> None:
    with pytest.raises(SetupError, match="cannot be read"):
        reader(tmp_path / path)


def test_aliases_and_merges_are_followed(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [{x: 4}, *a]}\nd: *a\n")
    assert sources.yaml_file(file) == {
        "a": {"x": "1", "y": "2"},
        "b": {"x": "1", "y": "3"},
        "c": {"x": "4", "y": "2"},
        "d": {"x": "1", "y": "2"},
    }


def test_more_than_a_configuration_may_hold_is_one_sentence() -> None:
    channel = {"id": 1, "type": 1, "models": "whisper-1"}
    tokens = [{"id": number, "name": "é" * 450, "unlimited_quota": True} for number in range(1_200)]
    draft = newapi.convert([{"channels": [channel], "tokens": tokens}])
    with pytest.raises(SetupError, match="larger than the 1,000,000 bytes"):
        prove(draft, emit(draft))


def test_a_mistake_of_ours_would_be_told_instead_of_written() -> None:
    entry = {"model_name": "whisper-1", "litellm_params": {"model": "whisper-1"}}
    draft = litellm.convert([{"model_list": [entry]}])
    prove(draft, emit(draft))
    draft.upstreams[0].weight = 5000
    with pytest.raises(SetupError, match=r"would not pass `audiogate check`: upstreams\.openai\.weight"):
        prove(draft, emit(draft))


def test_a_file_made_up_to_be_endless_ends() -> None:
    params = {"model": "whisper-1", "api_key": "os.environ/K", "rpm": 1}
    with pytest.raises(SetupError, match="more than 1,000 upstreams"):
        litellm.convert([{"model_list": [{"model_name": "whisper-1", "litellm_params": params}] * 5000}])
    channel = {"id": 1, "type": 1, "models": "whisper-1", "name": "same"}
    with pytest.raises(SetupError, match="more than 1,000 upstreams"):
        newapi.convert([{"channels": [channel] * 5000}])
