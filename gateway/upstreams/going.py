"""How a request goes out to an upstream, and what of its headers goes which way. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.audio.request import Layout
from gateway.upstreams.base import Upstream


@dataclass(slots=True)
class Outgoing:
    """A request as it goes out. `length` None: the body's length is not known, it goes out chunked.

    `patience`: seconds to wait for the first byte of the answer, once all of it is sent.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    length: int | None
    patience: float = 600.0


PASSED_ON = ("accept", "openai-beta")


def outgoing(
    upstream: Upstream, *, method: str, path: str, query: str, headers: Mapping[str, str], layout: Layout
) -> Outgoing:
    """What is sent to an upstream: our key, the form's own headers, and of the caller's only PASSED_ON.

    `path` begins with /v1; an upstream's base URL stands for that part. Answers are asked for uncompressed, so that
    their usage can be read.
    """
    url = upstream.base_url + path.removeprefix("/v1") + (f"?{query}" if query else "")
    out = {name: headers[name] for name in PASSED_ON if name in headers}
    out["accept-encoding"] = "identity"
    out["user-agent"] = "audiogate"
    if upstream.key is not None:
        out["authorization"] = f"Bearer {upstream.key}"
    if layout.content_type is not None:
        out["content-type"] = layout.content_type
    return Outgoing(method, url, out, layout.length)


# What of an upstream's headers a caller may see.
RETURNED = ("content-type", "content-length", "content-encoding", "content-disposition", "openai-processing-ms")
