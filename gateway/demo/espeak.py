"""A child process around the espeak-ng library: `python -m gateway.demo.espeak LIBRARY VOICES WORDS_PER_MINUTE`.

Text in UTF-8 on stdin, a WAV file on stdout. The library keeps global state and may not be entered twice, and one
that crashes shall not take the upstream along: hence a process of its own for each text.
"""

import ctypes
import io
import sys
import wave

# Constants of espeak-ng's speak_lib.h
_SYNCHRONOUS, _DO_NOT_EXIT = 2, 0x8000
_RATE, _BY_CHARACTER, _UTF8 = 1, 1, 1

_Collect = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


def speak(text: str, *, library: str, voices: str, words_per_minute: int) -> bytes:
    """A WAV file with `text` spoken in American English.

    Raises `OSError` where the library or its voices cannot be loaded.
    """
    engine = ctypes.CDLL(library)
    samples = bytearray()

    def collect(at: int | None, count: int, _events: int | None) -> int:
        if at and count > 0:
            samples.extend(ctypes.string_at(at, 2 * count))
        return 0

    callback = _Collect(collect)
    rate = engine.espeak_Initialize(_SYNCHRONOUS, 0, voices.encode(), _DO_NOT_EXIT)
    if rate <= 0:
        raise OSError(f"espeak-ng found no voices in {voices}")
    engine.espeak_SetSynthCallback(callback)
    engine.espeak_SetVoiceByName(b"en-us")
    engine.espeak_SetParameter(_RATE, words_per_minute, 0)
    encoded = text.encode() + b"\0"
    engine.espeak_Synth(encoded, ctypes.c_size_t(len(encoded)), 0, _BY_CHARACTER, 0, _UTF8, None, None)
    engine.espeak_Synchronize()
    engine.espeak_Terminate()
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples)
    return out.getvalue()


if __name__ == "__main__":
    _library, _voices, _pace = sys.argv[1:]
    _text = sys.stdin.buffer.read().decode()
    sys.stdout.buffer.write(speak(_text, library=_library, voices=_voices, words_per_minute=int(_pace)))
