"""What `docker compose` reads, held against the programs and files that it names."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config.expand import variables
from gateway.config.model import Timeouts
from tests.launched import environment, free_port, room
from tests.servers import BINARIES

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder() -> Iterator[Path]:
    """A room of its own."""
    with room() as one:
        yield one


def image_environment() -> dict[str, str]:
    """What the image sets."""
    return dict(re.findall(r"^ENV (\w+)=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))


def compose() -> dict[str, Any]:
    """The compose file, with `${VAR:-default}` standing for its default, and what has to be set for its name."""
    text = (ROOT / "docker-compose.yml").read_text()
    assert re.findall(r"\$\{(\w+):\?\w[^}]*\}", text) == ["AUDIOGATE_ADMIN_TOKEN"]
    text = re.sub(r"\$\{(\w+):\?[^}]*\}", r"\1", text)
    found: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))
    assert "${" not in str(found), "a variable without a default stops `docker compose up`"
    return found


def service(name: str) -> dict[str, Any]:
    """One of its services."""
    found: dict[str, Any] = compose()["services"][name]
    return found


def test_every_file_that_compose_mounts_exists_and_every_volume_is_declared() -> None:
    found = compose()
    for name, one in found["services"].items():
        for mount in one.get("volumes", []):
            source, target, *mode = mount.split(":")
            assert target.startswith("/"), (name, mount)
            if source.startswith("."):
                assert (ROOT / source).exists(), (name, mount)
                assert mode == ["ro"], (name, mount)
            else:
                assert source in found["volumes"], (name, mount)
        for network in one.get("networks", []):
            assert network == "default" or network in found["networks"]
        for port in one.get("ports", []):
            assert port.startswith("127.0.0.1:"), (name, port)
    build = service("gateway")["build"]
    assert (ROOT / str(build) / "Dockerfile").exists()
    assert {name for name, one in found["services"].items() if "profiles" in one} == {"prometheus", "grafana"}


def test_the_gateways_environment_is_what_its_configuration_reads() -> None:
    read = set(variables((ROOT / "config/gateway.yaml").read_text()))
    given = set(service("gateway")["environment"])
    assert given <= read | set(image_environment())
    assert {name for name in image_environment() if name.startswith("AUDIOGATE_")} <= read | {"AUDIOGATE_CONFIG"}
    assert {"AUDIOGATE_HOST", "AUDIOGATE_PORT", "AUDIOGATE_STORE_URL", "AUDIOGATE_DATA", "AUDIOGATE_PEPPER"} <= given


def test_the_gateway_is_shut_in_and_given_time_to_end() -> None:
    gateway = service("gateway")
    assert gateway["init"] is True
    assert gateway["read_only"] is True
    assert gateway["tmpfs"][0].startswith("/tmp")
    assert int(gateway["stop_grace_period"].removesuffix("s")) > Timeouts().drain
    targets = {mount.split(":")[1] for mount in gateway["volumes"]}
    folder = os.path.dirname(image_environment()["AUDIOGATE_CONFIG"])  # as a whole: a file may be replaced in it
    assert targets == {image_environment()["AUDIOGATE_DATA"], folder}


@pytest.mark.parametrize("engine", sorted(BINARIES))
def test_the_stores_command_line_is_one_that_the_server_takes(folder: Path, engine: str) -> None:
    command = [str(word) for word in service("valkey")["command"]]
    assert command[0] == "valkey-server"
    cli = shutil.which("valkey-cli") or shutil.which("redis-cli")
    if cli is None:
        pytest.skip("no client program of Valkey or Redis is installed")
    (folder / "bin").mkdir()
    (folder / "bin/valkey-cli").symlink_to(cli)
    port = str(free_port())
    words = [str(folder) if word == "/data" else word for word in command[1:]]
    test = service("valkey")["healthcheck"]["test"]
    assert test[0] == "CMD-SHELL"
    asked = test[1].replace("valkey-cli", f"valkey-cli -p {port}")
    environ = {**environment(folder), "PATH": f"{folder}/bin:/usr/bin:/bin"}
    assert subprocess.run(["/bin/sh", "-c", asked], env=environ, capture_output=True).returncode != 0
    words += ["--port", port, "--bind", "127.0.0.1"]
    server = subprocess.Popen([BINARIES[engine], *words], cwd=folder, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while subprocess.run(["/bin/sh", "-c", asked], env=environ, capture_output=True).returncode:
            assert time.monotonic() < deadline
            assert server.poll() is None
        told = [
            subprocess.run([cli, "-p", port, "config", "get", name], capture_output=True, text=True).stdout.split()[1:]
            for name in ("appendonly", "appendfsync", "maxmemory-policy", "save", "dir")
        ]
    finally:
        server.terminate()
        server.wait(10)
    assert told == [["yes"], ["always"], ["noeviction"], [], [str(folder)]]


def test_prometheus_asks_the_gateway_for_what_it_serves() -> None:
    found = yaml.safe_load((ROOT / "config/prometheus.yml").read_text())
    (job,) = found["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["static_configs"] == [{"targets": [f"gateway:{image_environment()['AUDIOGATE_PORT']}"]}]
    (secret,) = service("prometheus")["secrets"]
    assert job["authorization"] == {"credentials_file": f"/run/secrets/{secret}"}
    assert compose()["secrets"][secret]["environment"] in service("gateway")["environment"]
    mounts = " ".join(service("prometheus")["volumes"])
    assert "./config/prometheus.yml:/etc/prometheus/prometheus.yml:ro" in mounts
    assert {"gateway", "valkey", "prometheus", "grafana"} == set(compose()["services"])


def test_grafana_finds_prometheus() -> None:
    (file,) = (ROOT / "config/grafana/datasources").iterdir()
    (source,) = yaml.safe_load(file.read_text())["datasources"]
    assert source["type"] == "prometheus"
    ((host, port),) = re.findall(r"^http://(\w+):(\d+)$", source["url"])
    assert service(host)["ports"][0].endswith(f":{port}")
    assert "./config/grafana:/etc/grafana/provisioning:ro" in service("grafana")["volumes"]
