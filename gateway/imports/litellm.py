"""LiteLLM's config.yaml as a draft of ours: deployments become upstreams, one for each account and place in the order.

Its virtual keys, teams and budgets are in its database, which this does not read.
"""

from collections.abc import Mapping, Sequence

from gateway.config import values
from gateway.errors import SetupError
from gateway.imports import names
from gateway.imports.draft import Draft, KeyDraft, UpstreamDraft, fits, listing, mapping, text
from gateway.imports.litellm_deployment import ENVIRONMENT, Deployment, deployment
from gateway.imports.litellm_settings import fallbacks, settings
from gateway.imports.prices import settle

AGGREGATORS = ("api.aigc369.com", "api.4allapi.com")
NOWHERE = 901  # the place of a deployment without an order in a group that has one: after all that have


def convert(files: Sequence[object]) -> Draft:
    """The draft that these files make together. Raises SetupError if they are no configuration of LiteLLM."""
    file = _joined(files)
    if not isinstance(file.get("model_list"), list):
        raise SetupError(
            "There is no list `model_list` in it, so it is no config.yaml of LiteLLM; name the file that it starts "
            "with."
        )
    draft = Draft("LiteLLM")
    credentials = _credentials(file.get("credential_list"))
    entries = listing(file["model_list"])
    read = [deployment(draft, f"model_list[{index}]", entry, credentials) for index, entry in enumerate(entries)]
    found = [one for one in read if one is not None]
    for one in found:
        for name in _references(one):
            draft.wanted.setdefault(name, "")
    priorities, weights = _priorities(draft, found), _weights(draft, found)
    for one in found:
        _place(draft, one, priorities[id(one)], weights.get(id(one), 1))
    settings(draft, file)
    fallbacks(draft, file)
    _environment(draft, mapping(file.get("environment_variables")))
    draft.keys.append(KeyDraft("default", "default"))
    draft.say(
        "to do", "virtual keys, teams, users", "they are in LiteLLM's database: make keys with `audiogate keys create`"
    )
    return draft


def _joined(files: Sequence[object]) -> dict[str, object]:
    """Several files as LiteLLM's `include` would have them: lists follow each other, sections are merged."""
    joined: dict[str, object] = {}
    for file in files:
        for name, value in mapping(file).items():
            before = joined.get(name)
            if isinstance(before, list) and isinstance(value, list):
                joined[name] = before + value
            elif isinstance(before, dict) and isinstance(value, dict):
                joined[name] = {**before, **value}
            else:
                joined[name] = value
    return joined


def _credentials(value: object) -> dict[str, object]:
    rows = [mapping(row) for row in listing(value)]
    return {text(row.get("credential_name")): row.get("credential_values") for row in rows}


def _references(one: Deployment) -> list[str]:
    found = [one.key[1]] if one.key[0] == "variable" else []
    return found + ([one.base_url[2:-1]] if one.base_url.startswith("${") else [])


def _priorities(draft: Draft, found: Sequence[Deployment]) -> dict[int, int]:
    """The priority of each deployment: lower goes first in both, but ours has to be said of all."""
    ordered = {one.name for one in found if one.order is not None}
    priorities = {}
    for one in found:
        if one.order is not None:
            draft.say("taken", f"{one.what}: order", f"priority: {one.order}")
        elif one.name in ordered:
            draft.say("changed", f"{one.what}: order", "it has none, and others of its name have: it goes last")
        priorities[id(one)] = one.order if one.order is not None else NOWHERE if one.name in ordered else 1
    return priorities


def _weights(draft: Draft, found: Sequence[Deployment]) -> dict[int, int]:
    """Whole weights from 1 to 1000 in the proportion of the shares, for groups of more than one that have any."""
    groups: dict[str, list[Deployment]] = {}
    for one in found:
        groups.setdefault(one.name, []).append(one)
    shared = [one for group in groups.values() if len(group) > 1 for one in group if one.share]
    if not shared:
        return {}
    most = max(one.share or 0 for one in shared)
    whole = all(one.share == int(one.share or 0) for one in shared) and most <= 1000
    factor = 1 if whole else 1000 / most
    weights = {id(one): max(1, min(1000, round((one.share or 0) * factor))) for one in shared}
    for one in shared:
        draft.say("taken" if whole else "changed", f"{one.what}: weight or rpm", f"weight: {weights[id(one)]}")
    return weights


def _place(draft: Draft, one: Deployment, priority: int, weight: int) -> None:
    """Put a deployment where one like it is, or make an upstream for it."""
    for upstream in draft.upstreams:
        same = (upstream.base_url, upstream.priority, upstream.weight, upstream.first_byte) == (
            one.base_url, priority, weight, one.first_byte)  # fmt: skip
        free = upstream.models.get(one.name, one.target) == one.target
        if same and free and not upstream.limits and not one.limits and _same_key(draft, upstream, one):
            _serve(draft, upstream, one)
            return
    kind = "newapi" if names.host_of(one.base_url) in AGGREGATORS else "openai"
    name = names.Names(upstream.name for upstream in draft.upstreams).give(_wish(one), "upstream")
    upstream = UpstreamDraft(name, kind, one.base_url, one.what, priority=priority, weight=weight, limits=one.limits)
    upstream.first_byte, upstream.allow_private = one.first_byte, one.allow_private
    if one.key[0] != "none":
        upstream.key = one.key[1] if one.key[0] == "variable" else names.variable(draft, name, one.key[1])
        draft.wanted[upstream.key] = f"the key of the upstream {name}"
    if one.base_url.startswith("${"):
        draft.wanted[one.base_url[2:-1]] = f"the address of the upstream {name}, with /v1"
    draft.add(upstream)
    if one.key[0] == "secret":
        draft.say("to do", f"{one.what}: api_key", f"not written out: set {upstream.key} to it, or use --env-file")
    if upstream.allow_private:
        draft.say("changed", f"{one.what}: api_base", "it looks like a private address, so it got allow_private: true")
    _serve(draft, upstream, one)


def _serve(draft: Draft, upstream: UpstreamDraft, one: Deployment) -> None:
    again = one.name in upstream.models
    upstream.models[one.name] = one.target
    draft.say("taken", one.what, f"{'once more ' if again else ''}upstream {upstream.name}, as {one.target} there")
    if not again:
        settle(draft, upstream, one.name, one.price, one.what)


def _same_key(draft: Draft, upstream: UpstreamDraft, one: Deployment) -> bool:
    if one.key[0] == "secret":
        return bool(upstream.key) and draft.secrets.get(upstream.key) == one.key[1]
    return upstream.key == one.key[1] and upstream.key not in draft.secrets


def _wish(one: Deployment) -> str:
    """A name for the upstream of a deployment: its provider, or what tells its host from others."""
    host = names.host_of(one.base_url)
    if one.provider != "openai" and not host:
        return one.provider
    parts = [part for part in host.split(".") if part not in ("api", "www")]
    if not host:
        return one.base_url[2:-1].lower() or one.provider
    return host if host.replace(".", "").isdigit() or len(parts) < 2 else parts[-2]


def _environment(draft: Draft, section: Mapping[str, object]) -> None:
    """LiteLLM's own place for environment variables: what we refer to is kept as a secret, the rest is named."""
    for name, value in section.items():
        secret = text(value)
        reference = ENVIRONMENT.fullmatch(secret)
        if name in draft.wanted and secret and not reference and fits(values.SECRET, secret):
            draft.secrets[name] = secret
            draft.say(
                "to do", f"environment_variables.{name}", "not written out: set it for audiogate, or use --env-file"
            )
        else:
            draft.say("left out", f"environment_variables.{name}", "nothing that was taken over refers to it")
