"""The configuration file: its bytes, in an environment that holds a secret."""

import os
import tempfile
from pathlib import Path

from gateway.config.load import ConfigError, load
from gateway.config.model import Config
from tests.config.told import GOOD
from tests.fuzz.common import in_time, stretched

RUNS = 500
# The YAML parser is Python: a sound file of that size takes half a second, and one of problems only three times that.
FACTOR = 25
SECRET = "hunter2-and-more"
ENVIRON = {"A": SECRET, "EMPTY": "", "NUMBER": "7"}
ROOT = Path(__file__).parent.parent.parent
PATH = Path(tempfile.gettempdir()) / f"audiogate-fuzz-{os.getpid()}.yaml"
SEEDS = [
    GOOD.encode(),
    (ROOT / "config" / "gateway.yaml").read_bytes(),
    GOOD.encode()
    + b"keys: {alice: {team: x, limits: [{usd: 5, per: month}], key: '${A}', expires: 2030-01-01}}\nteams: {x: {}}\n",
    GOOD.encode() + b"server: {port: ${NUMBER}, admin_token: '${A}', workers: 2}\nstore: {url: 'redis://:${A}@h/0'}\n",
    b"upstreams: {a: {kind: openai, base_url: '${A}', key: '${A}', models: {x: y}, can: {routes: [speech]}}}\n",
    b"prices:\n  '*': free\n  tts-1: {per_1m_characters: '15'}\nuploads: {max_bytes: 25MB}\n",
]
WORDS = [
    b"${A}", b"${EMPTY:-x}", b"${", b"}", b"$$", b"${NUMBER}", b"&a ", b"*a", b"!!python/object:os.system ",
    b"<<: ", b"? ", b"- ",
    b": ", b"\n", b"  ", b"---\n", b"%YAML 1.1\n", b"|\n", b">-\n", b'"\\x', b'"\\U', b"'", b"#", b"[[[[[[",
    b"{a: ", b"~", b"1e999",
    b"-1", b"0.000001", b"9" * 40, b"2030-01-01T00:00:00Z", b"\xef\xbb\xbf", b"\x00", b"\x85", b"\xe2\x80\xa8",
    b"limits: ",
    b"per: minute", b"usd: 1", b"requests: 1", b"https://", b"http://[::1", b"base_url: ", b"timezone: ",
    b"ips: [10.0.0.0/8]",
]  # fmt: skip


def target(data: bytes) -> None:
    """One file: loaded, or refused with what is wrong with it and where; never with what the environment holds."""
    if b"file:" in data:
        return  # it would read from this machine
    in_time(lambda: loaded(data), len(data), factor=FACTOR)
    large = stretched(data, size=20_000)
    if large and b"file:" not in large:
        in_time(lambda: loaded(large), len(large), factor=FACTOR)


def loaded(data: bytes) -> Config | None:
    """The configuration in a file with these bytes, None if there is none."""
    PATH.write_bytes(data)
    try:
        return load(PATH, ENVIRON)
    except ConfigError as error:
        told(error, data)
        return None
    finally:
        PATH.unlink()


def told(error: ConfigError, data: bytes) -> None:
    """Each problem is a line, and stands on one of the file's."""
    said = str(error)
    assert error.problems
    assert SECRET not in said
    assert len(said.splitlines()) == len(error.problems)
    lines = len(data.decode("utf-8", "replace").splitlines()) + 1
    assert all(problem.line is None or 1 <= problem.line <= lines for problem in error.problems)
