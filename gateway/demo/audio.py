"""The demo upstream's three audio routes."""

import base64
from collections.abc import AsyncIterator, Iterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from gateway.demo import asked, formats
from gateway.demo.engines import Engines, Segment, Speech, Speechless, Transcript
from gateway.demo.problems import Problem, no_model
from gateway.demo.sound import CONTENT_TYPES, Sound, Unreadable

_PIECE = 4096  # bytes of audio sent at a time
_LONGEST_FIELD = 8 * 1024 * 1024  # known speakers come as text fields of hundreds of kilobytes
_EVENTS = "text/event-stream"


class Audio:
    """Everything that needs the engines."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    async def health(self, _request: Request) -> Response:
        """That the server runs, and what it speaks with."""
        return JSONResponse({"status": "ok", "speaker": self._engines.speaker.name})

    async def transcriptions(self, request: Request) -> Response:
        """POST /v1/audio/transcriptions."""
        return await self._hear(request, "transcribe")

    async def translations(self, request: Request) -> Response:
        """POST /v1/audio/translations: the text as it is said, since the recogniser knows English alone."""
        return await self._hear(request, "translate")

    async def speech(self, request: Request) -> Response:
        """POST /v1/audio/speech."""
        speak = asked.speak(await request.body())
        try:
            speech = await self._engines.speak(speak.text, speed=speak.speed, response_format=speak.response_format)
        except Speechless as failure:
            raise Problem(500, "The server had an error while processing your request. Sorry about that!") from failure
        if speak.events:
            return StreamingResponse(_speech_events(speech, speak.text), media_type=_EVENTS)
        return StreamingResponse(_sent(_pieces(speech.file)), media_type=CONTENT_TYPES[speak.response_format])

    async def _hear(self, request: Request, task: formats.Task) -> Response:
        async with request.form(max_part_size=_LONGEST_FIELD) as form:
            hear = await asked.hear(form)
        if task == "translate" and hear.model != "whisper-1":
            raise no_model(hear.model)
        try:
            sound = await self._engines.decode(hear.upload)
        except Unreadable as broken:
            raise Problem(400, str(broken), param="file", code="invalid_value") from broken
        if hear.stream:
            diarize = hear.response_format == "diarized_json"
            return StreamingResponse(self._transcript_events(sound, diarize=diarize), media_type=_EVENTS)
        body, content_type = formats.render(
            await self._engines.transcribe(sound),
            response_format=hear.response_format,
            task=task,
            granularities=hear.granularities,
        )
        return Response(body, headers={"content-type": content_type})

    async def _transcript_events(self, sound: Sound, *, diarize: bool) -> AsyncIterator[bytes]:
        segments: list[Segment] = []
        async for segment in self._engines.listen(sound):
            gap = " " if segments else ""  # the deltas put together are the text
            yield formats.event({"type": "transcript.text.delta", "delta": gap + segment.text})
            if diarize:
                yield formats.event(formats.diarized(segment, len(segments)))
            segments.append(segment)
        transcript = Transcript(tuple(segments), sound.seconds)
        usage = formats.hearing_tokens(transcript)
        yield formats.event({"type": "transcript.text.done", "text": transcript.text, "usage": usage})


def _pieces(file: bytes) -> Iterator[bytes]:
    for at in range(0, len(file), _PIECE):
        yield file[at : at + _PIECE]


async def _sent(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _speech_events(speech: Speech, text: str) -> AsyncIterator[bytes]:
    for piece in _pieces(speech.file):
        yield formats.event({"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()})
    usage = formats.speaking_tokens(text, spoken=speech.seconds)
    yield formats.event({"type": "speech.audio.done", "usage": usage})
