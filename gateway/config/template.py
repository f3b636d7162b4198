"""A configuration to start from: the project's own `config/gateway.yaml`, made to fit the machine it is written on."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from gateway.config.scalars import Objection
from gateway.config.values import ADDRESS
from gateway.policy.addresses import Reach, literal, reach
from gateway.policy.openai_prices import PRICES
from gateway.policy.zones import known

OPENAI = "https://api.openai.com/v1"
OURS = "ag_"  # how the keys begin that a gateway makes: none of them is an upstream's
PORT, PORT_IN = 8080, "${AUDIOGATE_PORT:-8080}"
_KEYS = ("AIGC369_API_KEY", "FOURALLAPI_API_KEY")  # of the upstreams that are in the template
_TEAM = "  default:\n    limits:"
_LAST_UPSTREAM = "  # Any other server that speaks OpenAI's API."
_OPENAI = """\
  # From OPENAI_API_KEY{also}. Who calls the gateway sets it to a key of the gateway (ag_...): where one
  # terminal does both, give the upstream's key another name, here and there.
  openai:
    kind: openai
    base_url: {base_url}
    key: ${{OPENAI_API_KEY:-}}
    models: [{models}]
"""
_PRIVATE = "    allow_private: true              # its address is one of this machine or of a private network\n"
_COMPATIBLE = ("whisper-1", "tts-1")  # what most servers that speak OpenAI's API call theirs


def template() -> str:
    """The file as it is shipped: in the package where that was built, else the project's own."""
    packed = files("gateway.config") / "gateway.yaml"
    shipped = packed if packed.is_file() else Path(__file__).parents[2] / "config" / "gateway.yaml"
    return shipped.read_text(encoding="utf-8")


def written(environ: Mapping[str, str], *, timezone: str = "", port: int = PORT) -> str:
    """The text of a configuration. No secret is in it, only the names of variables.

    `timezone` is that of the team `default`, "" for UTC; `port` is where it listens unless AUDIOGATE_PORT says.
    """
    text = _put(template(), PORT_IN, PORT_IN.replace(str(PORT), str(port)))
    if timezone not in ("", "UTC", "Etc/UTC"):
        text = _put(text, _TEAM, _TEAM.replace("    limits", f"    timezone: {timezone}\n    limits"))
    if base_url := openai_at(environ):
        text = _put(text, _LAST_UPSTREAM, f"{_openai(base_url)}\n{_LAST_UPSTREAM}")
    return text


def keys_in(environ: Mapping[str, str]) -> list[str]:
    """The variables that hold the key of an upstream that would be in the file."""
    found = [name for name in _KEYS if environ.get(name, "").strip()]
    return [*found, "OPENAI_API_KEY"] if openai_at(environ) else found


def openai_at(environ: Mapping[str, str]) -> str:
    """The base URL of the upstream that OPENAI_API_KEY is for; "" if it is for none: not set, or a gateway's."""
    key, base_url = environ.get("OPENAI_API_KEY", "").strip(), environ.get("OPENAI_BASE_URL", "").strip()
    if not key or key.startswith(OURS):
        return ""
    try:
        return str(ADDRESS.read(base_url or OPENAI))
    except (Objection, ValueError):
        return ""


def timezone_of(environ: Mapping[str, str], root: Path = Path("/")) -> str:
    """The name of this machine's time zone: by $TZ, /etc/timezone or where /etc/localtime leads; "" if none tells."""
    named, link = root / "etc/timezone", root / "etc/localtime"
    by_link = str(link.readlink()).partition("zoneinfo/")[2] if link.is_symlink() else ""
    by_name = named.read_text(errors="replace").strip() if named.is_file() else ""
    found = (environ.get("TZ", "").removeprefix(":"), by_name, by_link)
    return next((name for name in found if name and known(name)), "")


def _openai(base_url: str) -> str:
    host = urlsplit(base_url).hostname or ""
    address = literal(host)
    private = reach(address) is not Reach.PUBLIC if address else "." not in host
    models = PRICES if base_url == OPENAI else _COMPATIBLE
    also = "" if base_url == OPENAI else " and OPENAI_BASE_URL"
    text = _OPENAI.format(also=also, base_url=base_url, models=", ".join(models))
    return text + _PRIVATE if private else text


def _put(text: str, old: str, new: str) -> str:
    """The text with this place changed, which is there once."""
    assert text.count(old) == 1, f"config/gateway.yaml has {old!r} not just once"
    return text.replace(old, new)
