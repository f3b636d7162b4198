"""How much of everything one form may have: parts, text, and what stands before and behind it. Pure."""

from gateway.errors import refuse

MAX_PARTS = 32
MAX_TEXT = 64 * 1024
MAX_TEXTS = 256 * 1024
# Clips of known speakers travel as data URLs in text parts: up to four clips of ten seconds.
WIDE_FIELDS = frozenset({"known_speaker_references", "known_speaker_references[]"})
MAX_WIDE = 16 * 1024 * 1024
# What is dropped behind the form is made up for at the upstream's, byte by byte.
MAX_AROUND = 64 * 1024


class Caps:
    """What one form has used up so far. Everything here raises Refused (400) for what is too much."""

    def __init__(self) -> None:
        self.parts = 0
        self._texts = self._wide = self._around = 0

    def part(self) -> None:
        """One more part begins."""
        self.parts += 1
        if self.parts > MAX_PARTS:
            raise refuse("bad_form", why=f"it has more than {MAX_PARTS} parts")

    def text(self, name: str, more: int, *, held: int) -> None:
        """So many `more` bytes of the text part `name`, of which `held` have come."""
        if name in WIDE_FIELDS:
            self._wide += more
            if self._wide > MAX_WIDE:
                raise refuse("invalid", param=name, why=f"all values together are over {MAX_WIDE} bytes")
            return
        self._texts += more
        if self._texts > MAX_TEXTS or held + more > MAX_TEXT:
            why = f"a text part may have {MAX_TEXT} bytes, all of them {MAX_TEXTS}"
            raise refuse("invalid", param=name, why=why)

    def around(self, more: int) -> None:
        """So many `more` bytes that belong to no part."""
        self._around += more
        if self._around > MAX_AROUND:
            raise refuse("bad_form", why=f"there are more than {MAX_AROUND} bytes before its first part or behind it")
