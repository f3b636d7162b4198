"""What docs/operations.md tells operators to type does what it says."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from benchmarks.store_room import measured
from gateway.config.model import Timeouts
from tests.alert_cases import CASES
from tests.launched import environment, launched, room, transcribe, write_config
from tests.running import until
from tests.stub import said, stub
from tests.test_compose import service

ROOT = Path(__file__).parent.parent
LIMIT = "{measure: requests, per: total, amount: 9}"
DOCUMENT = (ROOT / "docs/operations.md").read_text()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A room of its own."""
    with room() as one:
        yield one


def blocks(heading: str, language: str) -> list[str]:
    """The blocks below a heading."""
    part = re.split(r"^## ", DOCUMENT, flags=re.MULTILINE)
    (found,) = [one for one in part if one.startswith(f"{heading}\n")]
    return re.findall(rf"^```{language}\n(.*?)^```$", found, re.MULTILINE | re.DOTALL)


def shell(folder: Path, commands: str) -> None:
    """Type them."""
    environ = {**environment(folder), "PATH": f"{folder}/bin:{os.environ['PATH']}"}
    done = subprocess.run(["/bin/sh", "-euc", commands], cwd=folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


async def test_a_back_up_that_is_taken_while_it_serves_brings_back_keys_and_usage(folder: Path) -> None:
    cli = shutil.which("valkey-cli") or shutil.which("redis-cli")
    if cli is None:
        pytest.skip("no client program of Valkey or Redis is installed")
    (folder / "bin").mkdir()
    (folder / "bin/valkey-cli").symlink_to(cli)
    back_up, restore = blocks("Back up and restore", "sh")
    async with stub() as one:
        one.answers = [said(usage={"type": "duration", "seconds": 60})]
        path = write_config(folder, upstream=one.url)
        path.write_text(path.read_text().replace("{alice: {}}", "{alice: {limits: [" + LIMIT + "]}}"))
        async with launched(folder) as first:
            key = first.key
            async with first.client() as client:
                assert (await transcribe(client)).status_code == 200
                told = await until(lambda: _usage(client), lambda found: '"used":1,"reserved":0' in found)
            shell(folder, back_up)
        (folder / "data").rename(folder / "gone")
        shell(folder, restore)
        assert sorted(path.name for path in (folder / "data").iterdir()) == ["pepper", "store"]
        async with launched(folder) as second, second.client(key) as client:
            assert second.key == "", "the key is known: none was made"
            assert await _usage(client) == told
            assert (await transcribe(client)).status_code == 200


async def _usage(client: httpx2.AsyncClient) -> str:
    answer = await client.get("/v1/usage")
    assert answer.status_code == 200, answer.text
    return answer.text


def test_the_unit_is_one_that_systemd_takes_and_gives_requests_their_time(folder: Path) -> None:
    (unit,) = blocks("systemd", "ini")
    facts = dict(
        line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("Environment=")
    )
    assert int(facts["TimeoutStopSec"]) > Timeouts().drain + 5
    assert facts["KillMode"] == "mixed"
    assert facts["StateDirectory"] == "audiogate"
    assert "AUDIOGATE_DATA=/var/lib/audiogate" in unit
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze is installed")
    here = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit, flags=re.MULTILINE)
    (folder / "audiogate.service").write_text(here.replace("User=audiogate\n", ""))
    done = subprocess.run(
        ["systemd-analyze", "verify", "audiogate.service"], cwd=folder, capture_output=True, text=True
    )
    assert "audiogate.service" not in done.stderr, done.stderr


def test_a_container_alone_is_started_as_compose_starts_it() -> None:
    (commands,) = blocks("A container without compose", "sh")
    gateway = service("gateway")
    assert f"--tmpfs {gateway['tmpfs'][0]} " in commands
    assert f"--stop-timeout {gateway['stop_grace_period'].removesuffix('s')} " in commands
    assert f"--cap-drop {gateway['cap_drop'][0]} " in commands
    for option in (
        "--init",
        "--read-only",
        "--security-opt no-new-privileges",
        "-p 127.0.0.1:8080:8080",
        "-v audiogate:/data",
    ):
        assert option in commands, option


async def test_what_keys_and_requests_take_in_the_store_is_measured() -> None:
    with room() as short:  # a socket's path is
        found = await measured(short, keys=100, requests=60)
    assert 500 < found["memory of a key"] < 4000
    assert 200 < found["memory of its record"] < 1000
    assert found["file of a request, until it is written anew"] > found["memory of its record"]


def test_the_table_of_alerts_has_them_all() -> None:
    named = re.findall(r"^\| `(Audiogate\w+)` \|", DOCUMENT, re.MULTILINE)
    assert sorted(named) == sorted({case.alert for case in CASES})
