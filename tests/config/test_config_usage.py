"""The section `usage`: how long the records of requests are kept."""

from pathlib import Path

import pytest

from gateway.config.load import ConfigError, load
from gateway.config.model import Usage

REST = "upstreams: {a: {kind: openai, base_url: 'http://a', models: [m]}}\nprices: {m: free}\n"


def usage(tmp_path: Path, section: str, **environ: str) -> Usage:
    file = tmp_path / "gateway.yaml"
    file.write_text(f"{REST}usage: {section}\n")
    return load(file, environ).usage


@pytest.mark.parametrize("section", ["", "{}", "{keep: }", "{keep: ''}", "{trim: exported, alarm: 1000000}"])
def test_without_keep_records_stay_for_ever(tmp_path: Path, section: str) -> None:
    assert usage(tmp_path, section) == Usage(keep=None, trim="exported", alarm=1_000_000)


@pytest.mark.parametrize(
    ("keep", "seconds"),
    [("90d", 7_776_000), ("24h", 86_400), ("60m", 3600), ("3600", 3600), ("9999999d", 863_999_913_600)],
)
def test_a_span_is_read_in_seconds(tmp_path: Path, keep: str, seconds: int) -> None:
    assert usage(tmp_path, f"{{keep: {keep}, trim: always, alarm: 5}}") == Usage(seconds, "always", 5)
    assert usage(tmp_path, '{keep: "${KEEP}"}', KEEP=keep).keep == seconds


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{keep: 59m}", "usage.keep: expected nothing or a span of at least an hour such as 90d or 24h, got '59m'"),
        ("{keep: 0}", "usage.keep: expected nothing or a span of at least an hour"),
        ("{keep: -1d}", "usage.keep: expected nothing or a span"),
        ("{keep: 3 months}", "usage.keep: expected nothing or a span"),
        ("{trim: sometimes}", "usage.trim: expected exported or always"),
        ("{alarm: 0}", "usage.alarm: expected a whole number from 1 to 1000000000000"),
        ("{kept: 90d}", "usage.kept: unknown key; did you mean 'keep'?"),
    ],
)
def test_what_does_not_fit_is_told_with_its_line(tmp_path: Path, section: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        usage(tmp_path, section)
    (problem,) = caught.value.problems
    assert problem.line == 3
    assert words in f"{problem.path}: {problem.message}"
