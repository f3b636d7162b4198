"""A good file to spoil, and what is said of the result."""

from collections.abc import Mapping
from pathlib import Path

from gateway.config.load import ConfigError, Problem, load

GOOD = """\
upstreams:
  a:
    kind: newapi
    base_url: https://a.example/v1
    models: [whisper-1]
prices: {whisper-1: {per_minute: 0.006}}
"""  # six lines: what a test adds starts on line 7


def refusal(file: Path, environ: Mapping[str, str]) -> ConfigError | None:
    try:
        load(file, environ)
    except ConfigError as error:
        return error
    return None


def problems(tmp_path: Path, text: str, **environ: str) -> list[Problem]:
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    error = refusal(file, environ)
    return list(error.problems) if error else []


def found(tmp_path: Path, text: str, **environ: str) -> list[tuple[int | None, str, str]]:
    return [(one.line, one.path, one.message) for one in problems(tmp_path, text, **environ)]
