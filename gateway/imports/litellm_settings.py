"""What stands in LiteLLM's file besides its models: aliases and fallbacks are taken, the rest gets a reason."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from gateway.config import values
from gateway.imports import names
from gateway.imports.draft import Draft, TeamDraft, UpstreamDraft, fits, listing, mapping, number, text
from gateway.imports.litellm_limits import budgeted
from gateway.policy.openai_prices import PRICES
from gateway.policy.pricing import FREE

LAST = 1000  # the last priority there is
_RETRIES = "audiogate has a budget of its own for retries"
_CACHE = "audiogate keeps no answers, save under an Idempotency-Key"
_HEALTH = "audiogate leaves a model alone that keeps failing, and tries it again by one request"
_WHY: Mapping[str, str] = {
    "master_key": "set AUDIOGATE_ADMIN_TOKEN to what is to open /admin/; it is no key for callers",
    "database_url": "keys and usage are in Redis or Valkey; virtual keys are not taken over",
    "redis_host": "set AUDIOGATE_STORE_URL to a Redis or Valkey of audiogate's own",
    "redis_port": "see redis_host",
    "redis_password": "see redis_host",
    "redis_url": "set AUDIOGATE_STORE_URL to a Redis or Valkey of audiogate's own",
    "routing_strategy": "within a priority the quicker and emptier upstream is taken, or by weight",
    "num_retries": _RETRIES,
    "retry_policy": _RETRIES,
    "retry_after": _RETRIES,
    "cache": _CACHE,
    "cache_params": _CACHE,
    "allowed_fails": _HEALTH,
    "cooldown_time": _HEALTH,
    "callbacks": "audiogate tells /metrics, its log and its records",
    "success_callback": "audiogate tells /metrics, its log and its records",
    "failure_callback": "audiogate tells /metrics, its log and its records",
    "context_window_fallbacks": "audio models have no context window",
    "drop_params": "audiogate passes on what callers send",
    "request_timeout": "audiogate waits by the audio's length; timeouts.first_byte of an upstream says otherwise",
    "timeout": "audiogate waits by the audio's length; timeouts.first_byte of an upstream says otherwise",
}
_TAKEN = frozenset(
    {
        "router_settings.fallbacks",
        "router_settings.default_fallbacks",
        "router_settings.model_group_alias",
        "litellm_settings.fallbacks",
        "litellm_settings.default_fallbacks",
        "litellm_settings.max_budget",
        "litellm_settings.budget_duration",
    }
)
_READ = frozenset({"model_list", "credential_list", "environment_variables"})


def settings(draft: Draft, file: Mapping[str, object]) -> None:
    """Aliases, the bound on uploads, the budget of all; and a line for everything else."""
    for section, value in file.items():
        if section in _READ:
            continue
        if section == "include":
            draft.say("to do", section, "files that it includes are not read: name them behind this one")
            continue
        rows = mapping(value)
        for name, one in rows.items():
            if f"{section}.{name}" not in _TAKEN and one is not None:
                _setting(draft, f"{section}.{name}", name, one)
        if not rows and value:
            draft.say("left out", section, "it has no counterpart")
    for alias, group in mapping(mapping(file.get("router_settings")).get("model_group_alias")).items():
        _alias(draft, alias, text(mapping(group).get("model")) or text(group))
    budget = budgeted(draft, "litellm_settings", mapping(file.get("litellm_settings")))
    if budget:
        draft.teams.append(TeamDraft("default", "LiteLLM's budget for all", limits=(budget,)))


def _setting(draft: Draft, what: str, name: str, value: object) -> None:
    size = number(value)
    if name == "max_request_size_mb" and size is not None and 1 <= size <= 4096:
        draft.max_bytes = f"{int(size)}MiB"
        draft.say("taken", what, f"uploads.max_bytes: {draft.max_bytes}")
        return
    draft.say("left out", what, _WHY.get(name, "it has no counterpart"))


def _alias(draft: Draft, alias: str, group: str) -> None:
    what = f"router_settings.model_group_alias.{alias}"
    serving = [one for one in draft.upstreams if group in one.models and alias not in one.models]
    if not serving or not fits(values.MODEL, alias) or set(alias + group) & set("*?["):
        draft.say("left out", what, f"no upstream that was taken over serves {group or 'it'} by that name")
        return
    for one in serving:
        _also(one, alias, one, group)
    draft.say("taken", what, f"{alias} is {group} at {', '.join(one.name for one in serving)}")


def fallbacks(draft: Draft, file: Mapping[str, object]) -> None:
    """What another model stands in for is offered again, by that model, at a later priority."""
    originals = tuple(draft.upstreams)
    names_taken = tuple(dict.fromkeys(name for one in originals for name in one.models))
    for what, model, others in _chains(file, names_taken):
        before = [one.priority for one in originals if model in one.models]
        if not before:
            draft.say("left out", what, "that model was not taken over")
            continue
        for place, other in enumerate(others, 1):
            _fall_back(draft, what, model, other, priority=min(max(before) + place, LAST), originals=originals)


def _chains(file: Mapping[str, object], taken: Sequence[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Where it stands, which model, and what stands in for it; the fallbacks of all models come last."""
    own: set[str] = set()
    for section in ("router_settings", "litellm_settings"):
        for row in listing(mapping(file.get(section)).get("fallbacks")):
            for model, others in mapping(row).items():
                own.add(model)
                yield f"{section}.fallbacks.{model}", model, [text(one) for one in listing(others)]
    for section in ("router_settings", "litellm_settings"):
        default = [text(one) for one in listing(mapping(file.get(section)).get("default_fallbacks"))]
        for model in taken if default else ():
            if model not in own and model not in default:
                yield f"{section}.default_fallbacks", model, default


def _fall_back(
    draft: Draft, what: str, model: str, other: str, *, priority: int, originals: Sequence[UpstreamDraft]
) -> None:
    serving = [one for one in originals if other in one.models]
    if not serving or other == model or set(model + other) & set("*?["):
        draft.say("left out", what, f"no other upstream that was taken over serves {other or 'it'}")
        return
    for one in serving:
        copy = next((seen for seen in draft.upstreams if _same(seen, one, priority)), None)
        if copy is None:
            name = names.Names(seen.name for seen in draft.upstreams).give(f"{one.name}-instead", "instead")
            copy = UpstreamDraft(name, one.kind, one.base_url, what, one.key, priority=priority, limits=one.limits)
            copy.allow_private, copy.first_byte = one.allow_private, one.first_byte
            draft.add(copy)
        _also(copy, model, one, other)
        apart = "; its limits count apart from those of the other" if one.limits else ""
        how = f"upstream {copy.name}, which is {one.name} again, serves {model} as {copy.models[model]}{apart}"
        draft.say("changed" if apart else "taken", what, how)


def _same(seen: UpstreamDraft, one: UpstreamDraft, priority: int) -> bool:
    account = (seen.base_url, seen.key, seen.priority, seen.limits) == (one.base_url, one.key, priority, ())
    return account and seen.name.startswith(f"{one.name}-instead")


def _also(upstream: UpstreamDraft, name: str, like: UpstreamDraft, model: str) -> None:
    """Serve a model by one more name, at the same price."""
    upstream.models[name] = like.models[model]
    listed = PRICES.get(like.models[model], FREE)
    upstream.prices[name] = like.prices.get(model, replace(listed, origin=""))
    if model in like.unpriced:
        upstream.unpriced.add(name)
