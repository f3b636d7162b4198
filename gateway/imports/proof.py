"""Whether what was made passes the check that every start makes. It always should: what does not is our mistake."""

from gateway.config.check import check
from gateway.config.shape import shape
from gateway.config.source import LARGEST, read
from gateway.errors import SetupError
from gateway.imports.draft import Draft


def prove(draft: Draft, text: str) -> None:
    """Raises SetupError with the first problem. Variables count as set to something that fits."""
    if len(text.encode()) > LARGEST:
        raise SetupError(
            f"What was made of it is larger than the {LARGEST:,} bytes that a configuration may have: leave keys out "
            "of the source, and make those with `audiogate keys create`."
        )
    addresses = {one.base_url for one in draft.upstreams}
    environ = {name: "https://stand.in/v1" if f"${{{name}}}" in addresses else "stand-in" for name in draft.wanted}
    source = read(text.encode(), environ)
    shaped = shape(source) if source.whole else None
    problems = [*source.problems, *(shaped.problems if shaped else ())]
    if shaped is not None and not problems:
        problems += check(shaped, source, serving=True)
    if problems:
        first = problems[0]
        raise SetupError(
            f"What was made of it would not pass `audiogate check`: {first.path}: {first.message}. Take that out of "
            "the source; and please tell us, with the part of the source that it is about."
        )
