"""`${VAR}`, `${VAR:-default}` and `${file:/path}` inside a scalar's text; `$$` is a dollar sign.

It happens to scalars after the YAML was read, so that what a variable holds can never change the file's structure.
"""

import re
from collections.abc import Mapping
from pathlib import Path

LARGEST_FILE = 65_536
_REFERENCE = re.compile(r"\$\$|\$\{([^}]*)(\}?)")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:-(.*))?", re.DOTALL)


class NotExpanded(Exception):
    """A reference that leads nowhere; the message says what to do."""


def expand(text: str, environ: Mapping[str, str]) -> str:
    """The text with its references replaced. A default counts where the variable is unset or empty, as in a shell.

    Raises NotExpanded.
    """

    def replace(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else _value(found[1], closed=bool(found[2]), environ=environ)

    return _REFERENCE.sub(replace, text)


def has_references(text: str) -> bool:
    """Whether `expand` would put something from outside into this text."""
    return any(found[0] != "$$" for found in _REFERENCE.finditer(text))


def variables(text: str) -> tuple[str, ...]:
    """The names of the environment variables that a text refers to."""
    matches = (_VARIABLE.fullmatch(found[1]) for found in _REFERENCE.finditer(text) if found[1])
    return tuple(match[1] for match in matches if match)


def files(text: str) -> tuple[str, ...]:
    """The files that a text refers to."""
    found = (match[1] for match in _REFERENCE.finditer(text) if match[1] and match[2])
    return tuple(one.removeprefix("file:") for one in found if one.startswith("file:"))


def _value(reference: str, *, closed: bool, environ: Mapping[str, str]) -> str:
    if not closed:
        raise NotExpanded("'${' without '}'; write $$ for a dollar sign")
    if reference.startswith("file:"):
        return _content(reference.removeprefix("file:"))
    match = _VARIABLE.fullmatch(reference)
    if match is None or "${" in reference:
        raise NotExpanded("expected ${NAME}, ${NAME:-default} or ${file:/path}, with nothing nested in it")
    name, default = match[1], match[3]
    if default is not None:
        return environ.get(name) or default
    if name not in environ:
        raise NotExpanded(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
    return environ[name]


def _content(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise NotExpanded(f"the file {path} is larger than {LARGEST_FILE} bytes")
        return content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise NotExpanded(f"the file {path} is no UTF-8 text") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise NotExpanded(f"the file {path} cannot be read: {why}") from None
