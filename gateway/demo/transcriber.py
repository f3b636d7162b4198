"""Sound to text, offline: pocketsphinx with the English model of its own wheel."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.demo.sound import LISTENING_RATE, Sound
from gateway.errors import SetupError

try:
    import pocketsphinx
except ImportError:  # the extra is not installed; said when a transcriber is asked for
    pocketsphinx = None

_FRAMES = 100  # the recogniser counts a second in hundredths
_GULP = LISTENING_RATE // 10 * 2  # bytes per call: calls hold the interpreter lock, so they are kept short
_LEVELLING = LISTENING_RATE * 5 * 2  # bytes that the level of a recording is taken from


@dataclass(frozen=True, slots=True)
class Word:
    """One word, `start` to `end` in seconds from the beginning of the recording."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Segment:
    """What was said between two pauses, `start` to `end` in seconds."""

    text: str
    start: float
    end: float
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Transcript:
    """A whole recording of `seconds`."""

    segments: tuple[Segment, ...]
    seconds: float

    @property
    def text(self) -> str:
        """All that was said, on one line."""
        return " ".join(segment.text for segment in self.segments)

    @property
    def words(self) -> tuple[Word, ...]:
        """Every word in order."""
        return tuple(word for segment in self.segments for word in segment.words)


class Transcriber:
    """The recogniser, loaded once (about 0.3 s, 100 MB); may be used from several threads.

    Raises `SetupError` where pocketsphinx is not installed.
    """

    def __init__(self) -> None:
        if pocketsphinx is None:
            raise SetupError("The demo transcribes with pocketsphinx: pip install 'audiogate[demo]'.")
        # The second pass over a whole utterance holds the interpreter for seconds and corrects next to nothing.
        self._decoder = pocketsphinx.Decoder(samprate=LISTENING_RATE, loglevel="FATAL", fwdflat=False)
        self._search = self._decoder.current_search()
        self._decoder.add_keyphrase("levelling", "hello")
        self._lock = threading.Lock()

    def transcribe(self, sound: Sound) -> Transcript:
        """The whole of `sound` (at `LISTENING_RATE`) at once. Blocks: about a sixth of its duration."""
        return Transcript(tuple(self.listen(sound)), sound.seconds)

    def listen(self, sound: Sound) -> Iterator[Segment]:
        """Segment after segment, as they are recognised. The lock is held within a segment only."""
        assert sound.rate == LISTENING_RATE
        for start, end, samples in _utterances(sound.samples):
            with self._lock:
                segment = self._recognise(samples, start=start, end=min(end, sound.seconds))
            if segment.words:
                yield segment

    def _recognise(self, samples: bytes, *, start: float, end: float) -> Segment:
        decoder = self._decoder
        # Recognition in gulps needs the level of the recording beforehand; a search for one word finds it cheaply.
        decoder.activate_search("levelling")
        decoder.reinit_feat()  # forgets the level and the noise of whatever was heard before
        decoder.start_utt()
        decoder.process_raw(samples[:_LEVELLING], full_utt=True)
        level = decoder.get_cmn(False)
        decoder.end_utt()
        decoder.activate_search(self._search)
        decoder.reinit_feat()
        decoder.set_cmn(level)
        decoder.start_utt()
        for at in range(0, len(samples), _GULP):
            decoder.process_raw(samples[at : at + _GULP])
        decoder.end_utt()
        words = tuple(
            Word(
                text=piece.word.partition("(")[0],  # "and(2)" is a second pronunciation
                start=round(min(start + piece.start_frame / _FRAMES, end), 2),
                end=round(min(start + (piece.end_frame + 1) / _FRAMES, end), 2),
            )
            for piece in decoder.seg() or ()
            if piece.word[0] not in "<[+"  # silence and noise
        )
        return Segment(" ".join(word.text for word in words), round(start, 2), round(end, 2), words)


def _utterances(samples: bytes) -> Iterator[tuple[float, float, bytes]]:
    """Start and end in seconds, and the samples, of everything between two pauses."""
    endpointer = pocketsphinx.Endpointer(sample_rate=LISTENING_RATE)
    size = endpointer.frame_bytes
    spoken = bytearray()
    for at in range(0, len(samples), size):
        frame = samples[at : at + size]
        last = at + size >= len(samples)
        heard = endpointer.end_stream(frame) if last else endpointer.process(frame)
        if heard is not None:
            spoken += heard
            if last or not endpointer.in_speech:
                yield endpointer.speech_start, endpointer.speech_end, bytes(spoken)
                spoken.clear()
