"""A draft as a configuration file of ours, with comments that say where things come from."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import yaml

from gateway.imports.draft import Draft, KeyDraft, Limit, TeamDraft, UpstreamDraft
from gateway.imports.prices import written
from gateway.policy.pricing import Price

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._-]*|[0-9]+(\.[0-9]+)?|https?://[A-Za-z0-9._-]+(:[0-9]+)?(/[A-Za-z0-9._/-]*)?")
_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_WORDS = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))
_HEAD = """\
# yaml-language-server: $schema=audiogate.schema.json
#
# Taken over from {product} by `audiogate import`, which also told what was left out. `audiogate check` says whether it
# is right, and config/gateway.yaml of the project explains all that may stand here.
"""
_SERVER = """
server:
  host: ${AUDIOGATE_HOST:-127.0.0.1}
  port: ${AUDIOGATE_PORT:-8080}
  admin_token: ${AUDIOGATE_ADMIN_TOKEN:-} # opens the pages and /admin/; empty: made in `data`
  metrics_token: ${AUDIOGATE_METRICS_TOKEN:-}

store:
  url: ${AUDIOGATE_STORE_URL:-} # empty: the embedded one
  data: ${AUDIOGATE_DATA:-data}
  pepper: ${AUDIOGATE_PEPPER:-}
"""


def emit(draft: Draft) -> str:
    """The file's text."""
    return "\n".join([_HEAD.format(product=draft.product), *_wanted(draft.wanted), *_sections(draft), ""])


def named(text: str) -> str:
    """A text as a key of YAML. Our reader takes it for just this text, as it does with `quoted`."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS and not text[0].isdigit():
        return text
    dumped: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=2**20)
    return dumped.strip()


def quoted(text: str) -> str:
    """A text as a value of YAML, in which nothing is a reference."""
    return text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else named(text.replace("$", "$$"))


def _raw(text: str) -> str:
    """The same for a text that may be a reference, or has its dollars doubled already."""
    return text if _REFERENCE.fullmatch(text) else quoted(text.replace("$$", "$"))


def _wanted(wanted: Mapping[str, str]) -> Iterator[str]:
    if wanted:
        yield "# These variables have to be set:"
        yield from (f"#   {name}: {_comment(use)}" for name, use in wanted.items())


def _sections(draft: Draft) -> Iterator[str]:
    yield _SERVER.rstrip("\n")
    if draft.max_bytes:
        yield f"\nuploads:\n  max_bytes: {draft.max_bytes}"
    yield "\nupstreams:"
    for upstream in draft.upstreams:
        yield from _upstream(upstream)
    yield "\n# US dollars, for every upstream without a price of its own; OpenAI's list prices are built in.\nprices:"
    for name, price in draft.prices.items():
        yield f"  {named(name)}: {_price(price)}"
    yield '  "/v1/audio/*": free # requests that name no model, such as lists of voices'
    yield "\nteams:"
    for team in draft.teams or [TeamDraft("default")]:
        yield from _team(team)
    yield "\n# Keys are made at the first start, and shown once."
    yield "keys:"
    for key in draft.keys:
        yield from _key(key)


def _upstream(one: UpstreamDraft) -> Iterator[str]:
    yield f"  {named(one.name)}: # {_comment(one.about)}"
    yield f"    kind: {one.kind}"
    yield f"    base_url: {_raw(one.base_url)}"
    if one.key:
        yield f"    key: ${{{one.key}}}"
    if one.allow_private:
        yield "    allow_private: true"
    if all(name == target for name, target in one.models.items()):
        yield f"    models: {_list(one.models)}"
    else:
        yield "    models:"
        yield from (f"      {named(name)}: {quoted(target)}" for name, target in one.models.items())
    if one.priority != 1:
        yield f"    priority: {one.priority}"
    if one.weight != 1:
        yield f"    weight: {one.weight}"
    if one.first_byte:
        yield f"    timeouts: {{first_byte: {one.first_byte}}}"
    yield from _limits(one.limits)
    if one.prices:
        yield "    prices:"
        for name, price in one.prices.items():
            remark = " # nobody said what it costs: write a price" if name in one.unpriced else ""
            yield f"      {named(name)}: {_price(price)}{remark}"


def _team(one: TeamDraft) -> Iterator[str]:
    about = f" # {_comment(one.about)}" if one.about else ""
    rows = [*([f"    upstreams: {_list(one.upstreams)}"] if one.upstreams else []), *_limits(one.limits)]
    yield f"  {named(one.name)}:{about}" if rows else f"  {named(one.name)}: {{}}{about}"
    yield from rows


def _key(one: KeyDraft) -> Iterator[str]:
    yield f"  {named(one.name)}:"
    yield f"    team: {quoted(one.team)}"
    if one.models:
        yield f"    models: {_list(one.models)}"
    yield from _limits(one.limits)
    if one.expires:
        yield f"    expires: {quoted(one.expires)}"
    if one.ips:
        yield f"    ips: {_list(one.ips)}"
    if one.note:
        yield f"    note: {quoted(one.note)}"


def _limits(limits: Sequence[Limit]) -> Iterator[str]:
    if not limits:
        return
    yield "    limits:"
    for limit in limits:
        per = f", per: {limit.per}" if limit.per else ""
        yield f"      - {{measure: {limit.measure}{per}, amount: {limit.amount}}}"


def _list(names: Iterable[str]) -> str:
    return f"[{', '.join(quoted(name) for name in names)}]"


def _price(price: Price) -> str:
    units = written(price)
    return f"{{{', '.join(f'{unit}: {amount}' for unit, amount in units.items())}}}" if units else "free"


def _comment(words: str) -> str:
    """Words that end with their line."""
    return "".join(one if one.isprintable() else " " for one in words)[:200]
