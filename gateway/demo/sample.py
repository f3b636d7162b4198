"""One sentence, spoken: what the demo transcribes first."""

from importlib.resources import files
from pathlib import Path

SENTENCE = "This is a short test of the audio gateway, and every word should come back."
"""What is said in the sample."""


def sample_path() -> Path:
    """A WAV file of about five seconds in which `SENTENCE` is spoken: flite's voice rms, 16 kHz, mono."""
    return Path(str(files("gateway.demo") / "sample.wav"))
