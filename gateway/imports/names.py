"""Names: what fits into our file, which models are for audio, and which variables hold secrets."""

import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from gateway.imports.draft import Draft
from gateway.policy.addresses import Reach, literal, reach

_AUDIO = re.compile(
    r"whisper|transcri|voxtral|parakeet|sensevoice|paraformer|kokoro|cosyvoice|"
    r"(?<![a-z])(stt|asr|tts|speech|speak|piper|orpheus)(?![a-z])"
)
_SPEECH = re.compile(r"kokoro|cosyvoice|(?<![a-z])(tts|speech|speak|piper|orpheus)(?![a-z])")
_LOCAL_NAMES = (".local", ".internal", ".lan", ".home", ".localdomain", ".svc")
LONGEST_NAME = 64


def sounds(model: str) -> bool:
    """Whether a model's name says that it is for audio."""
    return bool(_AUDIO.search(model.lower()))


def speaks(model: str) -> bool:
    """Whether a model's name says that it speaks, rather than listens."""
    found = _SPEECH.search(model.lower())
    return found is not None and not re.search(r"speech-?to-?text|speech2text", model.lower())


class Names:
    """Names for our file, each given once."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._counts: dict[str, int] = {}

    def give(self, wish: str, otherwise: str) -> str:
        """A name that is near to a wish and not taken; near to `otherwise`, which fits, if nothing of the wish fits."""
        base = re.sub(r"[^A-Za-z0-9._-]+", "-", wish).strip("-._")[: LONGEST_NAME - 8] or otherwise
        name = base
        while name in self._taken:
            self._counts[base] = self._counts.get(base, 1) + 1
            name = f"{base}-{self._counts[base]}"
        self._taken.add(name)
        return name


def variable(draft: Draft, upstream: str, secret: str) -> str:
    """The variable for an upstream's secret. The same secret has the same one; "" as secret: nobody knows it."""
    known = next((name for name, value in draft.secrets.items() if secret and value == secret), None)
    if known is not None:
        return known
    base = f"UPSTREAM_{re.sub('[^A-Z0-9]+', '_', upstream.upper()).strip('_')}_KEY"
    name, count = base, 1
    while name in draft.wanted:
        count += 1
        name = f"{base}_{count}"
    if secret:
        draft.secrets[name] = secret
    return name


def host_of(address: str) -> str:
    """The host of an address, "" if it has none or cannot be read."""
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


def nearby(host: str) -> bool:
    """Whether a host is, or looks like, one of this machine or of a private network."""
    address = literal(host)
    if address:
        return reach(address) is Reach.PRIVATE
    return "." not in host or host.endswith(_LOCAL_NAMES)


def forbidden(host: str) -> bool:
    """Whether no upstream may have this host."""
    address = literal(host)
    return bool(address) and reach(address) is Reach.FORBIDDEN


def network(word: str) -> str:
    """An address, or the network that a word means even where it has host bits; "" if it is neither."""
    try:
        return str(ip_address(word))
    except ValueError:
        pass
    try:
        return str(ip_network(word, strict=False))
    except ValueError:
        return ""
