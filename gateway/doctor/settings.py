"""The file, the variables it refers to, who is let in, and what a client in this terminal would do."""

from collections.abc import Iterator
from ipaddress import ip_network
from urllib.parse import urlsplit

from gateway.config.check import exposed
from gateway.config.expand import variables as variables_in
from gateway.config.model import Config
from gateway.config.source import LARGEST, read
from gateway.config.template import OURS
from gateway.doctor.finding import Finding, Scene, ok, problem, warning
from gateway.errors import Refused
from gateway.policy.addresses import literal, loopback
from gateway.policy.keys import parse

_QUOTES = "\"'`“”‘’"


def configuration(scene: Scene) -> list[Finding]:
    """Every mistake with its line, as `audiogate check` tells them."""
    if scene.error is not None:
        if not scene.path.exists():
            where = "Name one with --config, or have one written with `audiogate init`."
            return [problem(f"There is no file {scene.path}.", where)]
        return [problem(line) for line in str(scene.error).splitlines()]
    config = scene.known
    rows = {"upstream": config.market.upstreams, "team": config.teams, "key": config.keys}
    counts = ", ".join(f"{len(some)} {name}{'' if len(some) == 1 else 's'}" for name, some in rows.items())
    return [ok(f"{scene.path} is right: {counts}."), *(ok(f"{note}.") for note in config.notes)]


def variables(scene: Scene) -> list[Finding]:
    """Variables whose value has something around it that does not belong to it; values are not shown."""
    used = dict(_used(scene))
    found = [one for name, place in used.items() for one in _around(name, place, scene.environ.get(name, ""))]
    return found or [ok(f"The variables that the file refers to ({len(used)}) are clean or not set.")]


def exposure(scene: Scene) -> list[Finding]:
    """Whether more are believed or let in than anybody can mean."""
    server = scene.known.server
    found = [
        problem(
            f"server.trusted_proxies has {network}: whoever comes may claim any address.",
            "Name your proxies' own addresses or networks there.",
        )
        for network in server.trusted_proxies
        if ip_network(network).prefixlen == 0
    ]
    if words := exposed(server.host, admin_token=server.admin_token):
        found.append(problem(f"{words}."))
    who = "this machine alone" if loopback(literal(server.host)) else "other machines, too"
    return found or [ok(f"It listens on {server.host}: for {who}.")]


def terminal(scene: Scene) -> list[Finding]:
    """OPENAI_BASE_URL and OPENAI_API_KEY, as an SDK that is started here would take them."""
    base_url, key = (scene.environ.get(name, "").strip() for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"))
    found = []
    if base_url and not urlsplit(base_url).path.rstrip("/").endswith("/v1"):
        words = f"OPENAI_BASE_URL is {_bare(base_url)}, which does not end in /v1."
        found.append(warning(words, "SDKs only put the route behind it: add /v1."))
    if key.startswith(OURS) and not _is_key(key):
        words = "OPENAI_API_KEY begins like a key of a gateway, and is none: it is mistyped or cut off."
        found.append(problem(words, "Copy it again, or make another one with `audiogate keys rotate NAME`."))
    if key.startswith(OURS) and not base_url:
        words = "OPENAI_API_KEY is a key of a gateway, and OPENAI_BASE_URL is not set: SDKs would take it to OpenAI."
        found.append(warning(words, "Set OPENAI_BASE_URL to the gateway's address with /v1 at its end."))
    if key and not key.startswith(OURS) and scene.config is not None and _leads_here(base_url, scene.config):
        words = "OPENAI_BASE_URL leads to this gateway, and OPENAI_API_KEY is none of its keys (ag_…): it is refused."
        found.append(problem(words, "Set it to a key that `audiogate keys create NAME` makes."))
    return found or [ok("OPENAI_BASE_URL and OPENAI_API_KEY are not set." if not base_url + key else _FITS)]


_FITS = "OPENAI_BASE_URL and OPENAI_API_KEY fit each other, as far as one can tell from here."


def _used(scene: Scene) -> Iterator[tuple[str, str]]:
    """The variables that the file refers to, each with a place where it does."""
    try:
        with scene.path.open("rb") as file:
            source = read(file.read(LARGEST), scene.environ)
    except OSError:
        return
    for place, mark in source.marks.items():
        for name in variables_in(mark.written):
            yield name, ".".join(map(str, place))


def _around(name: str, place: str, value: str) -> Iterator[Finding]:
    bare = value.strip()
    if value and not bare:
        yield problem(f"{name} ({place}) is nothing but spaces.", "Set it to something, or unset it.")
    elif value != bare:
        what = "a line break" if set(value) & set("\r\n") else "spaces"
        yield problem(f"{name} ({place}) has {what} around its value.", "Set it again without them.")
    if len(bare) > 1 and bare[0] in _QUOTES and bare[-1] in _QUOTES:
        words = f"{name} ({place}) has quotation marks around its value."
        yield problem(words, "Set it again without them: env files of containers keep them as part of the value.")
    upstream = place.startswith("upstreams.") and place.endswith(".key")
    if upstream and bare.lower().startswith("bearer "):
        yield problem(f"{name} ({place}) begins with 'Bearer'.", "Set it to the key alone.")
    if upstream and bare.startswith(OURS):
        words = f"{name} ({place}) is a key of a gateway (ag_…), and no upstream takes it."
        yield problem(words, "Set it to the key that the upstream gave you; give it another name if both are needed.")


def _is_key(text: str) -> bool:
    try:
        parse(text)
    except Refused:
        return False
    return True


def _leads_here(base_url: str, config: Config) -> bool:
    try:
        parts = urlsplit(base_url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return False
    return loopback(literal(parts.hostname or "")) and port == config.server.port


def _bare(url: str) -> str:
    """An address without a user and a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
