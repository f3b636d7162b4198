"""Both engines, for a server: CPU-bound work on threads, as much of it at a time as there are cores."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.demo.sound import Sound, decode, encode
from gateway.demo.speakers import Espeak, EspeakWheel, Flite, Speaker, Speechless, find_speaker
from gateway.demo.transcriber import Segment, Transcriber, Transcript, Word

__all__ = [
    "Engines",
    "Espeak",
    "EspeakWheel",
    "Flite",
    "Segment",
    "Speaker",
    "Speech",
    "Speechless",
    "Transcriber",
    "Transcript",
    "Word",
    "find_speaker",
]

_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Speech:
    """A spoken text: the file that was asked for, and how many `seconds` it plays."""

    file: bytes
    seconds: float


class Engines:
    """A transcriber and a speaker, awaited.

    Without arguments the real ones; raises `SetupError` where this machine has none.
    """

    def __init__(self, *, transcriber: Transcriber | None = None, speaker: Speaker | None = None) -> None:
        self._transcriber = transcriber or Transcriber()
        self.speaker = speaker or find_speaker()
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def decode(self, upload: bytes) -> Sound:
        """The sound in an uploaded file.

        Raises `sound.Unreadable`.
        """
        async with self._places:
            return await asyncio.to_thread(decode, upload)

    async def listen(self, sound: Sound) -> AsyncIterator[Segment]:
        """Segment after segment of what is said in `sound`, as they are recognised."""
        segments = self._transcriber.listen(sound)
        while True:
            async with self._places:
                segment = await asyncio.to_thread(next, segments, None)
            if segment is None:
                return
            yield segment

    async def transcribe(self, sound: Sound) -> Transcript:
        """All that is said in `sound`."""
        return Transcript(tuple([segment async for segment in self.listen(sound)]), sound.seconds)

    async def speak(self, text: str, *, speed: float, response_format: str) -> Speech:
        """A file of `response_format` in which `text` is spoken.

        Raises `Speechless`.
        """
        async with self._places:
            return await asyncio.to_thread(self._speak, text, speed=speed, response_format=response_format)

    def _speak(self, text: str, *, speed: float, response_format: str) -> Speech:
        sound = self.speaker.speak(text, speed=speed)
        if not sound.samples:  # nothing in the text has a sound: a moment of silence is still a valid file
            sound = Sound(bytes(sound.rate // 5), sound.rate)
        return Speech(encode(sound, response_format), sound.seconds)
