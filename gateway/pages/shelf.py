"""The pages' own style, script and icon. Their addresses change with what is in them, so browsers keep them."""

import hashlib
from functools import cache
from importlib.resources import files


@cache
def content(file: str) -> bytes:
    """What is in it. It has to be one of `names()`."""
    return (files("gateway.pages") / "assets" / file).read_bytes()


@cache
def names() -> frozenset[str]:
    """All there are."""
    return frozenset(one.name for one in (files("gateway.pages") / "assets").iterdir())


@cache
def address(file: str) -> str:
    """Where a browser finds it."""
    return f"/assets/{file}?{hashlib.sha256(content(file)).hexdigest()[:12]}"
