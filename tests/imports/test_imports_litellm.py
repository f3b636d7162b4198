"""LiteLLM's config.yaml: what becomes of its deployments, prices, order, aliases and fallbacks."""

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.errors import SetupError
from gateway.imports.emit import emit
from gateway.policy.limits import Limit
from gateway.policy.pricing import Price
from tests.imports.importing import CORPUS, about, draft_of, loaded, said

EXAMPLE = CORPUS / "litellm.yaml"


def written(folder: Path, *models: str, more: str = "") -> Path:
    """A file of these entries of model_list."""
    file = folder / "config.yaml"
    file.write_text("model_list:\n" + "".join(f"- {model}\n" for model in models) + more)
    return file


def test_the_example_becomes_upstreams_in_its_order(tmp_path: Path) -> None:
    config = loaded(draft_of("litellm", EXAMPLE), tmp_path)
    found = {one.name: (one.base_url, one.key, one.models, one.priority) for one in config.market.upstreams}
    openai, first = "https://api.openai.com/v1", "value-of-OPENAI_API_KEY"
    assert found == {
        "openai": (openai, first, {"whisper-1": "whisper-1", "dictate": "whisper-1"}, 1),
        "groq": (
            "https://api.groq.com/openai/v1",
            "value-of-UPSTREAM_GROQ_KEY",
            {"whisper-1": "whisper-large-v3", "dictate": "whisper-large-v3"},
            2,
        ),
        "openai-2": (openai, "value-of-UPSTREAM_OPENAI_2_KEY", {"speech": "tts-1"}, 1),
        "openai-3": (openai, first, {"mini-tts": "gpt-4o-mini-tts"}, 1),
        "speaches": ("http://speaches:8000/v1", None, {"local": "openai/whisper-small"}, 1),
        "speaches-instead": ("http://speaches:8000/v1", None, {"whisper-1": "openai/whisper-small"}, 3),
    }
    assert {one.name for one in config.market.upstreams if one.allow_private} == {"speaches", "speaches-instead"}


def test_prices_are_exact_and_those_of_the_model_it_is_there(tmp_path: Path) -> None:
    market = loaded(draft_of("litellm", EXAMPLE), tmp_path).market
    by_name = {one.name: one for one in market.upstreams}
    asked = {(name, model): market.price(by_name[name], model) for name, model in (
        ("openai", "whisper-1"), ("openai", "dictate"), ("groq", "whisper-1"), ("groq", "dictate"),
        ("openai-2", "speech"), ("openai-3", "mini-tts"), ("speaches", "local"), ("speaches-instead", "whisper-1"),
    )}  # fmt: skip
    groq, whisper = Price(per_second=Decimal("0.000030833")), Price(per_minute=Decimal("0.006"))
    assert asked == {
        ("openai", "whisper-1"): whisper,
        ("openai", "dictate"): whisper,
        ("groq", "whisper-1"): groq,
        ("groq", "dictate"): groq,
        ("openai-2", "speech"): Price(per_1m_characters=Decimal(15)),
        ("openai-3", "mini-tts"): Price(per_1m_input_tokens=Decimal("0.6"), per_1m_output_tokens=Decimal(12)),
        ("speaches", "local"): Price(),
        ("speaches-instead", "whisper-1"): Price(),
    }


def test_rates_budgets_and_bounds_become_limits(tmp_path: Path) -> None:
    config = loaded(draft_of("litellm", EXAMPLE), tmp_path)
    assert config.upstream_limits["groq"] == (Limit("requests", "minute", 20), Limit("concurrency", "", 4))
    assert config.upstream_limits["openai-2"] == (Limit("usd", "month", 12_500_000),)
    assert config.upstream_limits["openai"] == ()
    assert config.teams["default"].limits == (Limit("usd", "day", 100_000_000),)
    assert config.uploads.max_bytes == 50 * 1024**2
    assert {one.name: one.first_byte_timeout for one in config.market.upstreams}["openai"] == 30


def test_no_secret_is_written_or_told() -> None:
    draft = draft_of("litellm", EXAMPLE)
    shown = emit(draft) + "\n".join(said(draft)) + repr(draft.lines) + repr(draft)
    secrets = (
        "literal-secret",
        "second-account",
        "first-account",
        "nobody-may-see",
        "key-of-all",
        "password",
        "is-secret",
    )
    for secret in secrets:
        assert secret in EXAMPLE.read_text(), secret
        assert secret not in shown, secret
    assert draft.secrets == {
        "UPSTREAM_GROQ_KEY": "gsk_literal-secret-0123456789",
        "UPSTREAM_OPENAI_2_KEY": "sk-second-account-0123456789",
        "OPENAI_API_KEY": "sk-first-account-0123456789",
    }


def test_every_entry_and_every_setting_has_a_line() -> None:
    draft = draft_of("litellm", EXAMPLE)
    lines = "\n".join(said(draft))
    for place in range(9):
        assert f"model_list[{place}] " in lines
    settings = ("tpm", "extra_headers", "output_cost_per_token", "routing_strategy", "num_retries", "drop_params")
    others = (
        "master_key",
        "database_url",
        "UNRELATED",
        "virtual keys",
        "fallbacks.gpt-4o",
        "model_group_alias.missing",
    )
    for setting in (*settings, *others):
        assert setting in lines, setting
    assert about(draft, r"left out \| model_list\[6\].*azure")
    assert about(draft, r"left out \| model_list\[8\].*blocked")
    assert about(draft, r"to do \| virtual keys.*audiogate keys create")


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("{model_name: whisper, litellm_params: {model: whisper-1, api_base: 'https://u:p@h/v1'}}", "no address"),
        (
            "{model_name: whisper, litellm_params: {model: whisper-1, api_base: 'http://169.254.169.254/v1'}}",
            "no address",
        ),
        ("{model_name: whisper, litellm_params: {model: hosted_vllm/whisper-1}}", "no api_base"),
        ("{model_name: whisper, litellm_params: {model: os.environ/MODEL}}", "write it out"),
        ("{model_name: whisper, litellm_params: {model: whisper-1, api_key: 'two words'}}", "no header can carry"),
        ("{model_name: 'whisper-*', litellm_params: {model: 'openai/*'}}", "by a pattern"),
        ("{model_name: x, litellm_params: {model: whisper-1}, model_info: {mode: chat}}", "its mode is chat"),
        ("{model_name: whisper, litellm_params: {}}", "no model"),
        ("3", "no model_name"),
    ],
)
def test_what_cannot_be_taken_over_says_why(tmp_path: Path, entry: str, why: str) -> None:
    draft = draft_of("litellm", written(tmp_path, entry))
    assert draft.upstreams == []
    assert [line for line in about(draft, r"left out \| model_list\[0\]") if why in line], said(draft)


def test_entries_of_one_account_share_an_upstream_unless_one_is_limited_or_in_the_way(tmp_path: Path) -> None:
    params = "api_key: os.environ/K"
    draft = draft_of("litellm", written(
        tmp_path,
        f"{{model_name: whisper-1, litellm_params: {{model: whisper-1, {params}}}}}",
        f"{{model_name: tts-1, litellm_params: {{model: tts-1, {params}}}}}",
        f"{{model_name: whisper-1, litellm_params: {{model: gpt-transcribe, {params}}}}}",
        f"{{model_name: tts-1-hd, litellm_params: {{model: tts-1-hd, {params}, rpm: 5}}}}",
        "{model_name: tts-1, litellm_params: {model: tts-1, api_key: os.environ/OTHER}}",
    ))  # fmt: skip
    assert [(one.name, list(one.models), one.key) for one in draft.upstreams] == [
        ("openai", ["whisper-1", "tts-1"], "K"),
        ("openai-2", ["whisper-1"], "K"),
        ("openai-3", ["tts-1-hd"], "K"),
        ("openai-4", ["tts-1"], "OTHER"),
    ]
    market = loaded(draft, tmp_path).market
    assert market.price(market.upstreams[1], "whisper-1") == Price(per_minute=Decimal("0.0045"))


def test_weights_keep_their_proportion_and_what_has_no_order_goes_last(tmp_path: Path) -> None:
    row = "{{model_name: whisper, litellm_params: {{model: whisper-1, api_key: os.environ/K{0}, {1}}}}}"
    more = [row.format(number, words) for number, words in enumerate(("weight: 0.5", "weight: 0.25", "order: 4"))]
    draft = draft_of("litellm", written(tmp_path, *more))
    assert [(one.weight, one.priority) for one in draft.upstreams] == [(1000, 901), (500, 901), (1, 4)]
    loaded(draft, tmp_path)


def test_an_address_from_the_environment_stays_there(tmp_path: Path) -> None:
    draft = draft_of("litellm", written(
        tmp_path,
        "{model_name: w, litellm_params: {model: hosted_vllm/whisper-x, api_base: os.environ/BASE, api_key: sk-01234}}",
    ))  # fmt: skip
    text = emit(draft)
    assert "base_url: ${BASE}" in text
    assert "key: ${UPSTREAM_HOSTED_VLLM_KEY}" in text
    assert "whisper-x" in text
    assert about(draft, r"to do .* price .* none is known for whisper-x")
    assert set(draft.wanted) == {"BASE", "UPSTREAM_HOSTED_VLLM_KEY"}


def test_default_fallbacks_stand_in_for_all_others(tmp_path: Path) -> None:
    draft = draft_of("litellm", written(
        tmp_path,
        "{model_name: whisper-1, litellm_params: {model: whisper-1, api_key: os.environ/A}}",
        "{model_name: whisper-b, litellm_params: {model: whisper-1, api_key: os.environ/B}}",
        "{model_name: spare-whisper, litellm_params: {model: whisper-1, api_key: os.environ/C, rpm: 1}}",
        more="litellm_settings: {default_fallbacks: [spare-whisper]}\n",
    ))  # fmt: skip
    spare = [(one.key, one.models, one.priority) for one in draft.upstreams if "instead" in one.name]
    assert [key for key, _, _ in spare] == ["C", "C"]
    assert {name for _, models, _ in spare for name in models} == {"whisper-1", "whisper-b"}
    assert about(draft, "changed .*default_fallbacks.*count apart")
    loaded(draft, tmp_path)


def test_files_that_are_included_can_be_named_behind(tmp_path: Path) -> None:
    first = written(
        tmp_path, "{model_name: whisper-1, litellm_params: {model: whisper-1}}", more="include: [more.yaml]\n"
    )
    second = tmp_path / "more.yaml"
    second.write_text("model_list: [{model_name: tts-1, litellm_params: {model: tts-1}}]\n")
    draft = draft_of("litellm", first, second)
    assert [list(one.models) for one in draft.upstreams] == [["whisper-1", "tts-1"]]
    assert about(draft, "to do .*include")


@pytest.mark.parametrize("content", ["", "3", "[1]", "a: b", "model_list: 3", "model_list: {a: b}"])
def test_what_is_no_configuration_of_litellm_is_one_sentence(tmp_path: Path, content: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(content)
    with pytest.raises(SetupError, match="of LiteLLM; name the file") as error:
        draft_of("litellm", file)
    assert "\n" not in str(error.value)


def test_the_same_secret_has_one_variable_and_no_two_secrets_share_one(tmp_path: Path) -> None:
    row = "{{model_name: {0}, litellm_params: {{model: whisper-1, api_key: {1}, rpm: 5}}}}"
    rows = [("whisper-a", "sk-one-1"), ("whisper-b", "sk-one-1"), ("whisper-c", "os.environ/UPSTREAM_OPENAI_3_KEY")]
    rows.append(("whisper-d", "sk-4"))
    draft = draft_of("litellm", written(tmp_path, *(row.format(*words) for words in rows)))
    assert [one.key for one in draft.upstreams] == [
        "UPSTREAM_OPENAI_KEY", "UPSTREAM_OPENAI_KEY", "UPSTREAM_OPENAI_3_KEY", "UPSTREAM_OPENAI_4_KEY",
    ]  # fmt: skip
    assert draft.secrets == {"UPSTREAM_OPENAI_KEY": "sk-one-1", "UPSTREAM_OPENAI_4_KEY": "sk-4"}
    rows[2] = ("whisper-c", "os.environ/UPSTREAM_OPENAI_4_KEY")
    draft = draft_of("litellm", written(tmp_path, *(row.format(*words) for words in rows)))
    assert draft.upstreams[3].key == "UPSTREAM_OPENAI_4_KEY_2"


@pytest.mark.parametrize(
    ("params", "line"),
    [
        ("rpm: none", "left out .*: rpm .*no number"),
        ("max_parallel_requests: 0", "left out .*: max_parallel_requests .*no number"),
        ("max_budget: 5, budget_duration: 7d", r"left out .*: max_budget .*\$5 per 7d"),
        ("max_budget: -1", "left out .*: max_budget"),
        ("budget_duration: 1d", "left out .*: budget_duration .*no max_budget"),
        ("max_budget: 5", "taken .*: max_budget .*usd/total=5"),
        ("timeout: soon", "left out .*: timeout"),
        ("input_cost_per_second: 2000000", "left out .*: price .*more than"),
        ("input_cost_per_pixel: 1", "left out .*: input_cost_per_pixel"),
    ],
)
def test_what_cannot_be_a_limit_or_a_price_says_so(tmp_path: Path, params: str, line: str) -> None:
    entry = f"{{model_name: whisper-1, litellm_params: {{model: whisper-1, {params}}}}}"
    draft = draft_of("litellm", written(tmp_path, entry))
    assert about(draft, line), said(draft)
    loaded(draft, tmp_path)
