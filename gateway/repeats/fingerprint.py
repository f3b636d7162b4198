"""What a request says, as one number: by it a request that is sent again is told from another one.

Bodies are compared in the form in which they go out. Every request of a claim gets a boundary made of the claim's
secret, so that the same form gives the same bytes, whatever boundary it came with.
"""

import hashlib
import json
from contextlib import suppress

from gateway.audio.partheaders import boundary_of
from gateway.audio.request import Endpoint, Layout
from gateway.call import Call
from gateway.errors import Refused

FORM = "multipart/form-data"


class Fingerprint:
    """SHA-256 of what a request says. `token` is its claim's secret; `theirs` the boundary of a body that is passed on.

    Boundaries count as `token`, whatever they are: nothing in the rest can pass for one.
    """

    def __init__(self, *facts: str, token: str, theirs: bytes = b"") -> None:
        self.whole = False
        self._hash = hashlib.sha256(json.dumps(facts).encode())
        self._seam, self._theirs, self._ahead = token.encode(), theirs, b""

    def update(self, data: bytes) -> None:
        """More of the body."""
        if self._theirs:
            *parts, rest = (self._ahead + data).split(self._theirs)
            cut = max(0, len(rest) - len(self._theirs) + 1)
            self._ahead = rest[cut:]
            data = self._seam.join((*parts, rest[:cut]))
        elif self._seam in data:  # our own, in one piece, with as many dashes in front as make it as long as theirs
            *parts, rest = data.split(self._seam)
            data = self._seam.join((*(part.rstrip(b"-") for part in parts), rest))
        self._hash.update(data)

    def end(self, layout: Layout) -> None:
        """The body is whole: what goes out behind it, and the model, which is put into it."""
        self._hash.update(self._ahead)
        self._theirs = b""
        self.update(layout.closing)
        for _, insert in layout.splices:
            self.update(insert)
        self.whole = True

    @property
    def text(self) -> str:
        """In hexadecimal; "" if the body is not whole."""
        return self._hash.hexdigest() if self.whole else ""


def fingerprint(call: Call, endpoint: Endpoint, token: str) -> Fingerprint:
    """The fingerprint of a request, before its body."""
    media, theirs = call.headers.get("content-type", ""), b""
    if media.partition(";")[0].strip().lower() == FORM:
        with suppress(Refused):  # whoever reads it says what is wrong with it
            media, theirs = FORM, boundary_of(media)
    theirs = theirs if endpoint.reader == "raw" else b""
    return Fingerprint(call.path, call.query, media, token=token, theirs=theirs)
