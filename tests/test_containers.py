"""The container files, followed step by step without an engine: each of their commands is run for what it is."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.launched import environment, free_port, launched, processes_in, room

ROOT = Path(__file__).parent.parent
Instruction = tuple[str, str]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A room of its own."""
    with room() as one:
        yield one


def dockerfile() -> list[Instruction]:
    """The instructions in order."""
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    found = [line.split(None, 1) for line in lines if line.strip() and not line.startswith("#")]
    return [(name, rest) for name, rest in found]


def last_stage() -> list[Instruction]:
    """The instructions of the image itself."""
    found = dockerfile()
    start = max(number for number, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


def only(name: str) -> str:
    """The one instruction of this name in the image."""
    (found,) = [rest for kind, rest in last_stage() if kind == name]
    return found


def copies() -> list[tuple[list[str], str]]:
    """Sources in the repository, and where they go."""
    found = [rest.split() for name, rest in dockerfile() if name == "COPY" and not rest.startswith("--from")]
    return [(words[:-1], words[-1]) for words in found]


def image_environment() -> dict[str, str]:
    """What the image sets."""
    return dict(rest.split("=", 1) for name, rest in last_stage() if name == "ENV")


def test_every_file_that_is_copied_exists_and_reaches_the_engine() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    for sources, _ in copies():
        for source in sources:
            assert (ROOT / source).exists(), source
            ignored = False
            for rule in rules:
                if fnmatch(source, rule.removeprefix("!")):
                    ignored = not rule.startswith("!")
            assert not ignored, f".dockerignore keeps {source} back"
    assert rules[0] == "*", "what is not named stays out"
    tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode == 0:
        names = tracked.stdout.split()
        for source in (source for sources, _ in copies() for source in sources):
            assert any(name == source or name.startswith(f"{source}/") for name in names), f"git ignores {source}"


def test_the_stages_use_one_python_that_the_package_allows() -> None:
    images = {rest.split()[0] for name, rest in dockerfile() if name == "FROM"}
    assert len(images) == 1, images
    (found,) = re.findall(r"^python:3\.(\d+)-slim$", images.pop())
    (least,) = re.findall(r'requires-python = ">=3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert int(found) >= int(least)


def test_the_image_runs_as_nobody_in_particular() -> None:
    uid, gid = only("USER").split(":")
    assert int(uid) > 1000
    assert f"-o {uid} -g {gid}" in " ".join(rest for name, rest in last_stage() if name == "RUN")
    assert image_environment()["AUDIOGATE_DATA"] == only("VOLUME") == only("WORKDIR")
    assert only("STOPSIGNAL") == "SIGTERM"
    assert only("EXPOSE") == image_environment()["AUDIOGATE_PORT"]


def test_every_command_of_the_build_is_one_that_runs(folder: Path) -> None:
    """What the network would bring is taken from the environment of the tests, by the same lock and flags."""
    for sources, into in copies():
        for source in sources:
            target = folder / ("etc" if into.startswith("/") else into if into.endswith("/") else "")
            target.mkdir(exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, target / source, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, target)
    for line in (rest for name, rest in dockerfile() if name == "RUN"):
        words = [_moved(word, folder) for word in shlex.split(line)]
        if "--require-hashes" in words:
            words = [sys.executable, *words[1:], "--dry-run", "--no-index"]
        if words[0] == "install" and os.geteuid() != 0:
            continue  # only root can give a folder away
        done = subprocess.run(words, cwd=folder, env=environment(folder), capture_output=True, text=True)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        assert "Would install" not in done.stdout, "the lock names what is not installed here"
    _is_whole(folder)


def _moved(word: str, folder: Path) -> str:
    """A word of a command with the places of the image moved into the folder, and its Python to ours."""
    if word == "python":
        return sys.executable
    if word == "/opt/audiogate/bin/python":
        return str(folder / "opt/audiogate/bin/python")
    return str(folder / word[1:]) if word.startswith(("/opt", "/wheels", "/data")) else word


def _is_whole(folder: Path) -> None:
    (wheel,) = (folder / "wheels").glob("audiogate-*.whl")
    packed = zipfile.ZipFile(wheel)
    names = set(packed.namelist())
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "gateway").rglob("*") if path.is_file()}
    missing = {name for name in ours if "__pycache__" not in name and not name.endswith(".pyc")} - names
    assert missing == set()
    assert any(name.endswith(".lua") for name in names)
    assert "gateway/demo/sample.wav" in names
    assert packed.read("gateway/config/gateway.yaml") == (ROOT / "config/gateway.yaml").read_bytes()  # for `init`
    assert not [name for name in names if name.startswith(("tests", "config"))]
    told = "import gateway, pathlib; print(pathlib.Path(gateway.__file__).parent)"
    done = subprocess.run(
        [folder / "opt/audiogate/bin/python", "-I", "-c", told], capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()).is_relative_to(folder / "opt")
    assert (folder / "opt/audiogate/bin/audiogate").exists()


def _image(folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """The image's own command and environment, its places moved into the folder."""
    (target,) = [into for sources, into in copies() if "config/gateway.yaml" in sources and into.startswith("/")]
    etc = folder / "etc"
    etc.mkdir()
    shipped = (ROOT / "config/gateway.yaml").read_text()
    (etc / "gateway.yaml").write_text(
        shipped.replace("https://api.aigc369.com/v1", "http://127.0.0.1:9/v1\n    allow_private: true")
    )
    command = json.loads(only("ENTRYPOINT")) + json.loads(only("CMD"))
    assert command[0] in {script.name for script in entry_points(group="console_scripts")}
    environ = {name: value for name, value in image_environment().items() if name != "PATH"}
    moved = {
        name: value.replace(target, f"{etc}/").replace("/data", f"{folder}/data") for name, value in environ.items()
    }
    bin_folder = Path(sys.executable).parent
    own = {"PATH": f"{bin_folder}:/usr/bin:/bin", "TMPDIR": str(folder / "tmp"), "AIGC369_API_KEY": "sk-nobody"}
    own["AUDIOGATE_ADMIN_TOKEN"] = "0123456789abcdef"  # it listens on all addresses
    return command, {**moved, **own, "AUDIOGATE_PORT": str(port)}


def _written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_the_command_serves_and_its_health_check_can_tell(folder: Path) -> None:
    port = free_port()
    command, environ = _image(folder, port)
    check = json.loads(only("HEALTHCHECK").split("CMD", 1)[1])
    assert _health(check, environ) != 0, "nobody listens yet"
    binary = shutil.which(command[0], path=environ["PATH"])
    assert binary
    async with launched(folder, command=[binary, *command[1:]], environ=environ) as one:
        assert one.origin == f"http://0.0.0.0:{port}"
        assert _health(check, environ) == 0
        assert _health(check, {**environ, "HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}) == 0
        assert await one.stopped() == 0
    assert processes_in(folder) == []
    assert _health(check, environ) != 0
    assert _written(folder) == {"data", "tmp", "etc", "said.log"}, "all else may be read-only in the image"


def _health(check: list[str], environ: Mapping[str, str]) -> int:
    return subprocess.run(check, env=dict(environ), capture_output=True, timeout=20).returncode


def test_no_file_of_the_containers_names_a_registry_of_packages() -> None:
    for name in ("Dockerfile", "docker-compose.yml", ".dockerignore", "config/prometheus.yml"):
        text = (ROOT / name).read_text()
        assert not re.search(r"index-url|trusted-host|pypi|https://", text), name
        assert "curl" not in text
