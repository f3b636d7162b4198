"""One entry of LiteLLM's model_list: where it leads, what may be asked there, or why it cannot be taken over."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.config import values
from gateway.imports import litellm_prices, names
from gateway.imports.draft import Draft, Limit, fits, mapping, number, text, true
from gateway.imports.litellm_limits import limits_of, timeout_of
from gateway.policy.pricing import Price

ENVIRONMENT = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)")
MODES: Final = {"audio_transcription": False, "audio_speech": True, "audio_translation": False}


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider that speaks OpenAI's audio API: its address, and the variable that LiteLLM takes its key from."""

    address: str = ""
    variable: str = ""


PROVIDERS: Mapping[str, Provider] = {
    "openai": Provider("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "groq": Provider("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "hosted_vllm": Provider(),
    "openai_like": Provider(),
    "custom_openai": Provider(),
    "litellm_proxy": Provider(),
    "xinference": Provider(),
}
# Fields that this file reads; all others are told to have been left out.
_ACCOUNT = ("model", "api_key", "api_base", "base_url", "custom_llm_provider", "litellm_credential_name")
_BOUNDS = ("rpm", "max_parallel_requests", "max_budget", "budget_duration", "weight", "order", "timeout")
_READ = frozenset((*_ACCOUNT, *_BOUNDS, "mode", "blocked"))
_PARTS = frozenset(("model_name", "litellm_params", "model_info"))
_TPM = "audiogate limits requests, seconds, characters and money, not tokens"
_WHY: Mapping[str, str] = {
    "tpm": _TPM,
    "itpm": _TPM,
    "otpm": _TPM,
    "max_retries": "audiogate has a budget of its own for retries",
    "num_retries": "audiogate has a budget of its own for retries",
    "max_file_size_mb": "there is one bound for all uploads: uploads.max_bytes",
    "api_version": "it is a matter of providers with an API of their own",
    "organization": "audiogate sends no OpenAI-Organization header; use a key that belongs to it",
}


@dataclass(frozen=True, slots=True)
class Deployment:
    """An entry that can be taken over. `key` is ("variable", its name), ("secret", itself) or ("none", "").

    `share` is what it gets of its group's requests, None if that was not said; so is `order`.
    """

    what: str
    name: str
    target: str
    provider: str
    base_url: str
    key: tuple[str, str]
    limits: tuple[Limit, ...]
    price: Price | None
    order: int | None = None
    share: float | None = None
    first_byte: str = ""
    allow_private: bool = False


class _LeftOut(Exception):
    """Why an entry cannot be taken over."""


def deployment(draft: Draft, place: str, entry: object, credentials: Mapping[str, object]) -> Deployment | None:
    """The deployment that an entry describes, or None; the draft is told what became of it either way."""
    row = mapping(entry)
    name = text(row.get("model_name"))
    what = f"{place} {name}".rstrip()
    try:
        return _taken(draft, what, name, row, credentials)
    except _LeftOut as why:
        draft.say("left out", what, str(why))
        return None


def _taken(
    draft: Draft, what: str, name: str, row: Mapping[str, object], credentials: Mapping[str, object]
) -> Deployment:
    info = mapping(row.get("model_info"))
    params = mapping(row.get("litellm_params"))
    credential = text(params.get("litellm_credential_name"))
    if credential:
        params = {**mapping(credentials.get(credential)), **params}
    model = text(params.get("model"))
    if not name or not model:
        raise _LeftOut("it has no model_name, or no model in litellm_params")
    speaking = _speaking(name, model, text(info.get("mode")))
    if true(info.get("blocked")):
        raise _LeftOut("it is blocked")
    provider, target = _provider(model, text(params.get("custom_llm_provider")))
    base_url, near = _address(provider, text(params.get("api_base")) or text(params.get("base_url")))
    _check_names(name, target)
    key = _key(draft, what, provider, text(params.get("api_key")), own_address=base_url != PROVIDERS[provider].address)
    params = {field: row[field] for field in row if field not in _PARTS} | params
    fields = {**info, **params}
    limits = limits_of(draft, what, fields)
    price = litellm_prices.price(draft, what, fields, speaking=speaking)
    _rest(draft, what, params, info)
    order, share = number(fields.get("order")), number(fields.get("weight")) or number(fields.get("rpm"))
    return Deployment(
        what, name, target, provider, base_url, key, limits, price,
        order=None if order is None else min(max(int(order), 0), 900),
        share=float(share) if share is not None and share > 0 else None,
        first_byte=timeout_of(draft, what, fields),
        allow_private=near,
    )  # fmt: skip


def _speaking(name: str, model: str, mode: str) -> bool:
    """Whether it speaks. Raises _LeftOut for what is not for audio."""
    if mode in MODES:
        return MODES[mode]
    if mode:
        raise _LeftOut(f"its mode is {mode}, which audiogate does not serve")
    if not names.sounds(name) and not names.sounds(model):
        raise _LeftOut(
            "nothing says that it is for audio; if it is, set model_info.mode to audio_transcription or audio_speech"
        )
    return names.speaks(model) or (names.speaks(name) and not names.sounds(model))


def _provider(model: str, named: str) -> tuple[str, str]:
    prefix, slash, rest = model.partition("/")
    if ENVIRONMENT.fullmatch(model):
        raise _LeftOut("its model stands in an environment variable; write it out")
    if named:
        provider, target = named, rest if prefix == named and slash else model
    elif slash:
        provider, target = prefix, rest
    else:
        provider, target = "openai", model
    if provider not in PROVIDERS:
        raise _LeftOut(f"{provider} has an audio API of its own, and audiogate passes on OpenAI's")
    return provider, target


def _address(provider: str, written: str) -> tuple[str, bool]:
    """The base URL as our file writes it, and whether it is private."""
    reference = ENVIRONMENT.fullmatch(written)
    if reference:
        return f"${{{reference[1]}}}", False
    address = written or PROVIDERS[provider].address
    if not address:
        raise _LeftOut(f"no address is known for {provider}: it has no api_base")
    host = names.host_of(address)
    if not fits(values.ADDRESS, address) or not host or names.forbidden(host):
        raise _LeftOut(
            "its api_base is no address that an upstream may have: http(s)://host/v1 without user, query or '#'"
        )
    return address.rstrip("/").replace("$", "$$"), names.nearby(host)


def _check_names(name: str, target: str) -> None:
    if not fits(values.MODEL, name) or not fits(values.MODEL, target):
        raise _LeftOut("its name is no model's name: empty, over 200 characters, or not printable")
    patterns = [bool(set(one) & set("*?[")) for one in (name, target)]
    if any(patterns) and name != target:
        raise _LeftOut("it renames models by a pattern, which audiogate cannot; write them out one by one")


def _key(draft: Draft, what: str, provider: str, written: str, *, own_address: bool) -> tuple[str, str]:
    reference = ENVIRONMENT.fullmatch(written)
    if reference:
        return "variable", reference[1]
    if written:
        if not fits(values.SECRET, written):
            raise _LeftOut("its api_key has spaces or letters that no header can carry")
        return "secret", written
    default = PROVIDERS[provider].variable
    if default and not own_address:
        draft.say("changed", f"{what}: api_key", f"none was written: {default} is taken, as LiteLLM does")
        return "variable", default
    draft.say("changed", f"{what}: api_key", "none was written: none is sent")
    return "none", ""


def _rest(draft: Draft, what: str, params: Mapping[str, object], info: Mapping[str, object]) -> None:
    """What else stands there: named, never shown, as it may be a secret."""
    for field, value in [*params.items(), *((f"model_info.{name}", one) for name, one in info.items())]:
        bare = field.removeprefix("model_info.")
        if value is None or litellm_prices.is_cost(bare) or bare in _READ:
            continue
        draft.say("left out", f"{what}: {field}", _WHY.get(bare, "it has no counterpart"))
