"""Multipart forms: bytes in, the same form out with safe headers, and what routing needs on the way. Pure.

The parts keep their order, names and bytes. Changed are: `model` (cut out, so that each attempt can put its own
name in), empty optional text parts (dropped; real back ends refuse an empty `language`), and the headers of every
part, which are written anew because parsers differ on odd ones. The closing boundary is not part of what is
kept: it goes out last, when the upload has passed every check.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from gateway.audio.caps import MAX_PARTS, Caps
from gateway.audio.container import HEAD_BYTES, safe_extension, sniff
from gateway.audio.duration import estimate_seconds
from gateway.audio.partheaders import PartHeaders, boundary_of, read_part_headers, written
from gateway.audio.request import READ, AudioRequest, Endpoint, Layout, with_field
from gateway.audio.search import may_hold
from gateway.errors import refuse

if TYPE_CHECKING:  # the library only has the name for type checkers
    from python_multipart.multipart import MultipartCallbacks

MIN_BOUNDARY = 16
ONCE = READ | {"file"}


@dataclass(slots=True)
class _Part:
    headers: PartHeaders
    body: bytearray = field(default_factory=bytearray)
    begun: bool = False  # a file's header has gone out
    size: int = 0


class FormReader:
    """Reads one form piece by piece.

    `body_size` is the request's Content-Length if it has one, `max_bytes` the cap, `token` something that the caller
    cannot know: the boundary that goes out is made of it, so that nothing in the audio can pass for one. Raises
    Refused (400, 413) as soon as the form is known to be wrong; nothing refused ever got its closing boundary.
    """

    def __init__(
        self, endpoint: Endpoint, content_type: str, *, body_size: int | None, max_bytes: int, token: str
    ) -> None:
        self.request = AudioRequest(endpoint, response_format=endpoint.default_format)
        self.routable = False
        self.blocked = False
        self.file_at = 0  # where the audio begins in what is kept
        self.file_size: int | None = None
        theirs = boundary_of(content_type)
        # As long as theirs, so that what follows the file keeps its length; never so short that it could be guessed.
        self._boundary = token.rjust(70, "-")[-max(len(theirs), MIN_BOUNDARY) :].encode()
        self._longer = (MAX_PARTS + 1) * (len(self._boundary) - len(theirs))
        self._body_size, self._max_bytes, self._chunk = body_size, max_bytes, b""
        self._out: list[bytes | memoryview] = []
        self._seen: set[str] = set()
        self._kept = self._model_at = 0
        self._file_raw_at: int | None = None
        self._read = 0
        self._caps = Caps()
        self._begun = self._ended = False
        self._raw_headers: list[tuple[bytes, bytes]] = []
        self._name, self._value = bytearray(), bytearray()
        self._part: _Part | None = None
        self._mark, self._midst = b"\r\n--" + theirs, False
        self._parser = MultipartParser(theirs, callbacks=self._callbacks())

    # -- what the upload calls

    def feed(self, data: bytes) -> bytes:
        """Read `data`, return the bytes to keep."""
        if self._midst and self._part is not None and not may_hold(data, self._mark):
            self._part.size += len(data)
            self._kept += len(data)
            self._read += len(data)
            return data
        if not self._begun:
            data = self._without_lines(data)
        self._chunk, self._midst, ended = data, False, self._ended
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise refuse("bad_form", why=f"malformed at byte {self._read + max(error.offset, 0)}") from error
        if ended or not self._caps.parts:
            self._caps.around(len(data))
        self._read += len(data)
        self._chunk = b""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def close(self) -> None:
        """The body has ended: is the form whole? Raises Refused if not."""
        if not self._ended:
            raise refuse("incomplete_form" if self._read else "bad_form", why="the body is empty")
        for name in ("file", "model"):
            if name not in self._seen:
                raise refuse("missing", param=name)
        self.routable = True

    def layout(self, model: str) -> Layout:
        """How the form goes out to an upstream that calls the model `model`."""
        value = model.encode()
        closing = b"--" + self._boundary + b"--"
        length = None
        if self._ended:
            closing += b"\r\n"
            length = self._kept + len(value) + len(closing)
        elif self._body_size is not None and self._file_raw_at is not None:
            # The rest of the body goes out as it came in; shorter tails are made up for behind the closing boundary.
            length = self.file_at + len(value) + self._body_size - self._file_raw_at + self._longer
        content_type = "multipart/form-data; boundary=" + self._boundary.decode()
        return Layout(content_type, ((self._model_at, value),), closing, length)

    def _without_lines(self, data: bytes) -> bytes:
        """The body without empty lines before it: behind one the parser would skip whatever comes in the same piece."""
        rest = data.lstrip(b"\r\n")
        self._caps.around(len(data) - len(rest))
        self._read += len(data) - len(rest)
        self._begun = bool(rest)
        return rest

    # -- what the parser calls

    def _callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        self._caps.part()
        self._raw_headers.clear()

    def _on_header_end(self) -> None:
        self._raw_headers.append((bytes(self._name), bytes(self._value)))
        self._name.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        headers = read_part_headers(self._raw_headers)
        if headers.name in ONCE and headers.name in self._seen:
            raise refuse("repeated", param=headers.name)
        if (headers.name == "file") != (headers.filename is not None) and headers.name in ONCE:
            kind = "a file part, with a filename" if headers.name == "file" else "a text part, without a filename"
            raise refuse("invalid", param=headers.name, why=f"it must be {kind}")
        self._seen.add(headers.name)
        self._part = _Part(headers)
        if headers.name == "file":
            self.blocked = "model" not in self._seen

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        assert part is not None
        if part.headers.filename is None:
            self._caps.text(part.headers.name, end - start, held=len(part.body))
            part.body += data[start:end]
            return
        if self._file_raw_at is None and part.headers.name == "file" and data is self._chunk:
            self._file_raw_at = self._read + start - part.size  # what the parser held back came before
        part.size += end - start
        if not part.begun and (part.body or end - start < HEAD_BYTES):
            part.body += data[start:end]
            if len(part.body) >= HEAD_BYTES:
                self._begin_file(part, bytes(part.body[:HEAD_BYTES]))
            return
        if not part.begun:
            self._begin_file(part, data[start : start + HEAD_BYTES])
        self._keep(memoryview(data)[start:end] if end - start < len(data) else data)
        self._midst = data is self._chunk and end == len(data)  # the parser holds nothing back

    def _on_part_end(self) -> None:
        part = self._part
        assert part is not None
        if part.headers.filename is None:
            self._end_text(part)
        else:
            name = part.headers.name
            if part.size == 0:
                why = f"the file part '{name}' is empty"
                raise refuse("empty_file") if name == "file" else refuse("bad_form", why=why)
            if name == "file":
                self.file_size = part.size
            if not part.begun:
                self._begin_file(part, bytes(part.body))
            self._keep(b"\r\n")
        self._part = None

    def _on_end(self) -> None:
        self._ended = True

    # -- what goes out

    def _keep(self, data: bytes | memoryview) -> None:
        self._out.append(data)
        self._kept += len(data)

    def _end_text(self, part: _Part) -> None:
        name, value = part.headers.name, bytes(part.body)
        if not value:
            self._seen.discard(name)
            return
        self._keep(written(part.headers, boundary=self._boundary))
        if name == "model":
            self._model_at = self._kept
        else:
            self._keep(value)
        self._keep(b"\r\n")
        self.request = with_field(self.request, name, value)

    def _begin_file(self, part: _Part, head: bytes) -> None:
        container = sniff(head)
        extension = container.extension if container else safe_extension(part.headers.filename or "")
        fallback = part.headers.content_type or "application/octet-stream"
        headers = replace(
            part.headers,
            filename=f"audio.{extension or 'bin'}",
            content_type=container.content_type if container else fallback,
        )
        self._keep(written(headers, boundary=self._boundary))
        if part.headers.name == "file":
            self.file_at = self._kept
            self._measure(head)
            self.routable = not self.blocked
        self._keep(bytes(part.body))
        part.begun = True
        part.body.clear()

    def _measure(self, head: bytes) -> None:
        total = self.file_size
        if total is None and self._body_size is not None and self._file_raw_at is not None:
            total = self._body_size - self._file_raw_at
        estimate = estimate_seconds(head, total_bytes=total, max_bytes=self._max_bytes)
        found = {"container": sniff(head), "seconds": estimate.seconds, "seconds_from": estimate.source}
        self.request = replace(self.request, **found)  # type: ignore[arg-type]
