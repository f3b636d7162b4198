"""The headers of one form part: read strictly, written anew. Pure.

Parsers differ on repeated parameters, `filename*` and control characters, so those are refused and every header
that goes out is one we wrote. Sources: RFC 7578 section 4, RFC 2046 section 5.1.1 (boundary).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.errors import refuse

MAX_HEADERS = 8
MAX_HEADER_BYTES = 4096
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_PARAM = re.compile(r""";\s*([A-Za-z0-9!#$&+\-.^_`|~*]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))\s*""", re.DOTALL)
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+\-]+/[A-Za-z0-9!#$&^_.+\-]+(?:;[\x20-\x7e]*)?")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\"\\\ufffd]")  # the last one stands for bytes that are no UTF-8


@dataclass(frozen=True, slots=True)
class PartHeaders:
    """What a part says of itself: field name, file name (None: a text part), content type if it has one."""

    name: str
    filename: str | None = None
    content_type: str | None = None


def boundary_of(content_type: str) -> bytes:
    """The boundary named by a Content-Type header. Raises Refused (400) without exactly one good boundary."""
    media, _, rest = content_type.partition(";")
    if media.strip().lower() != "multipart/form-data":
        raise refuse("bad_content_type", expected="multipart/form-data", got=media.strip()[:80] or "none")
    found = _params(";" + rest if rest.strip() else "").get("boundary")
    if not found:
        raise refuse(
            "bad_form",
            why="its Content-Type names no boundary; let your HTTP library set that header, do not write it by hand",
        )
    if not _BOUNDARY.fullmatch(found):
        raise refuse("bad_form", why="its boundary is not one that RFC 2046 allows (1 to 70 characters)")
    return found.encode()


def read_part_headers(raw: Sequence[tuple[bytes, bytes]]) -> PartHeaders:
    """Name, file name and content type of a part. Raises Refused (400) for headers that parsers disagree on."""
    if len(raw) > MAX_HEADERS or sum(len(name) + len(value) for name, value in raw) > MAX_HEADER_BYTES:
        raise refuse("bad_form", why="a part has too many headers")
    found: dict[str, str] = {}
    for name, value in raw:
        key = name.decode("latin-1").strip().lower()
        if key in found:
            raise refuse("bad_form", why=f"a part has two {key} headers")
        found[key] = value.decode("utf-8", "replace").strip()
    kind, _, rest = found.get("content-disposition", "").partition(";")
    params = _params(";" + rest) if rest.strip() else {}
    name_of_part = params.get("name", "")
    if kind.strip().lower() != "form-data" or not name_of_part:
        raise refuse("bad_form", why="a part has no Content-Disposition: form-data; name=…")
    if _UNSAFE.search(name_of_part):
        raise refuse("bad_form", why="the name of a part has a quote, a backslash or an unreadable character in it")
    content_type = found.get("content-type")
    if content_type is not None and content_type.lower().startswith("multipart/"):
        raise refuse("bad_form", why="a part is a form itself; some servers would read what is in it")
    if content_type is not None and not _CONTENT_TYPE.fullmatch(content_type):
        content_type = None
    return PartHeaders(name_of_part, params.get("filename", params.get("filename*")), content_type)


def written(headers: PartHeaders, *, boundary: bytes) -> bytes:
    """The boundary line and headers of a part, up to and including the empty line."""
    line = f'Content-Disposition: form-data; name="{headers.name}"'
    if headers.filename is not None:
        line += f'; filename="{headers.filename}"'
    if headers.content_type is not None:
        line += f"\r\nContent-Type: {headers.content_type}"
    return b"--" + boundary + b"\r\n" + line.encode() + b"\r\n\r\n"


def _params(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at, text = 0, text.rstrip()
    while at < len(text):
        match = _PARAM.match(text, at)
        if match is None:
            raise refuse("bad_form", why="a header's parameters cannot be read")
        key = match[1].lower()
        if key in found:
            raise refuse("bad_form", why=f"the parameter {key} is given twice in one header")
        found[key] = re.sub(r"\\(.)", r"\1", match[2], flags=re.DOTALL) if match[2] is not None else match[3]
        at = match.end()
    return found
