"""What it is made of, and with what it does not start."""

import re
import subprocess
import sys
import sysconfig
import time
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest

from gateway.config.load import ConfigError, load
from tests.launched import config_of, room, run

ROOT = Path(__file__).parents[2]
UPSTREAM = "upstreams: {a: {kind: openai, base_url: 'https://a.example/v1', models: [tts-1]}}"
GOOD = "K3vQ9-horse_staple.72"
LOCKS = {
    "requirements.lock": ("embedded",),
    "requirements-demo.lock": ("demo", "embedded", "build"),
    "requirements-dev.lock": ("dev", "demo", "embedded", "build"),
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A room of its own."""
    with room() as one:
        yield one


def plain(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", name.strip())[0]).lower()


def locked(path: Path) -> dict[str, list[str]]:
    """Packages of a lock file with their hashes."""
    found: dict[str, list[str]] = {}
    for row in path.read_text().replace("\\\n", " ").splitlines():
        if not row.strip() or row.lstrip().startswith("#"):
            continue
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==\S+", row), (
            f"{path.name}: not one version of one package: {row}"
        )
        assert "://" not in row, row
        assert " @ " not in row, row
        found[plain(row)] = re.findall(r"--hash=sha256:([0-9a-f]{64})(?![0-9a-f])", row)
        assert not re.search(r"--(?!hash=)", row), row
    return found


def test_S_1_every_package_is_locked_by_hash_and_comes_from_no_address() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name, extras in LOCKS.items():
        packages = locked(ROOT / name)
        assert all(packages.values()), [package for package, hashes in packages.items() if not hashes]
        wanted = [
            *project["dependencies"],
            *(one for extra in extras for one in project["optional-dependencies"][extra]),
        ]
        missing = {plain(one) for one in wanted} - set(packages) - {"audiogate"}
        assert missing == set(), name
        print(f"S-1 {name}: {len(packages)} packages, {sum(map(len, packages.values()))} hashes")
    everywhere = set(locked(ROOT / "requirements.lock"))
    assert not everywhere & {"pytest", "hypothesis", "litellm", "uv", "ruff"}, "what serves has no tools in it"


def test_S_1_nothing_runs_by_itself_when_python_starts() -> None:
    site = Path(sysconfig.get_paths()["purelib"])
    found = {path.name for path in site.glob("*.pth")}
    known = {"_editable_impl_audiogate.pth", "a1_coverage.pth", "distutils-precedence.pth"}
    assert found <= known, found - known
    for name in found & {"_editable_impl_audiogate.pth"}:
        assert (site / name).read_text().split() == [str(ROOT)]
    assert not [path for path in site.glob("*customize*")]
    text = (ROOT / "requirements-dev.lock").read_text()
    versions = {plain(name): version for name, version in re.findall(r"^([\w.-]+)(?:\[[a-z,]+\])?==(\S+)", text, re.M)}
    installed = {plain(one.metadata["Name"]): one.version for one in distributions(path=[str(site)])}
    other = {name: version for name, version in installed.items() if versions.get(name, version) != version}
    assert other == {}, "installed, and not what the lock says"
    assert len(installed.keys() & versions.keys()) > 40


def test_S_1_the_wheel_holds_the_package_and_nothing_else(folder: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "gateway").rglob("*") if path.is_file()}
    meta = {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    start_from = "gateway/config/gateway.yaml"  # the project's config/gateway.yaml, for `audiogate init`
    assert names - ours == meta | {start_from}
    assert {name for name in ours - names if "__pycache__" not in name} == set()
    pages = {".html", ".css", ".js", ".svg"}
    assert {Path(name).suffix for name in names - meta - {start_from}} <= {".py", ".lua", ".wav"} | pages


def wrong(folder: Path, *lines: str) -> list[tuple[int | None, str, str]]:
    """Line, path and words of all that is wrong with a file."""
    try:
        load(Path(config_of(folder, *lines)), {})
    except ConfigError as error:
        return [(one.line, one.path, one.message) for one in error.problems]
    return []


SAMPLES = [
    "change-me-change-me",
    "changeme_changeme",
    "please-change-this-1234",
    "your-admin-token-here",
    "my-secret-password",
    "example-token-0123",
    "aaaaaaaaaaaaaaaaaaaa",
    "0000000000000000",
    "abababababababab",
    "xxxxxxxxxxxxxxxxxxxxxxxx",
    "secretsecretsecret",
    "password12345678",
    "audiogate-gateway-pepper",
]


@pytest.mark.parametrize("place", ["server.admin_token", "server.metrics_token", "store.pepper"])
def test_S_11_a_sample_is_no_secret(folder: Path, place: str) -> None:
    section, name = place.split(".")
    for secret in (*SAMPLES, "short", "a" * 15):
        ((line, path, words),) = wrong(folder, UPSTREAM, f"{section}: {{{name}: '{secret}'}}")
        assert (line, path) == (2, place), secret
        assert "`openssl rand -hex 32`" in words or "at least 16 characters" in words
        assert secret not in words
    for secret in (GOOD, "0123456789abcdef", "f" * 8 + "0e1d2c3b4a", "correct horse".replace(" ", "-") + "-battery"):
        assert wrong(folder, UPSTREAM, f"{section}: {{{name}: '{secret}'}}") == []


def test_S_11_what_the_project_ships_has_no_secret_in_it() -> None:
    for path in (ROOT / "config/gateway.yaml", ROOT / "docker-compose.yml"):
        text = re.sub(r"(?m)(^| )#.*$", "", path.read_text())
        found = re.findall(r"(\w*(?:_token|pepper|key|_TOKEN|_PEPPER|_KEY)): (\S+)", text)
        assert len(found) >= 5, found
        for name, value in found:
            assert re.match(r"\$\{\w+(:-\}|:\?)", value), (path.name, name, value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.example", "10.0.0.1", "0"])
def test_S_11_others_are_let_in_only_with_a_token_for_operators(folder: Path, host: str) -> None:
    ((line, path, words),) = wrong(folder, UPSTREAM, "server:", f"  host: '{host}'")
    assert (line, path) == (3, "server.host")
    assert "AUDIOGATE_ADMIN_TOKEN" in words
    assert "127.0.0.1" in words
    assert wrong(folder, UPSTREAM, f"server: {{host: '{host}', admin_token: {GOOD}}}") == []
    path = config_of(folder, UPSTREAM, f"server: {{host: '{host}'}}")
    assert load(Path(path), {}, serving=False).server.host == host, "keys can be listed all the same"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_S_11_this_machine_needs_none(folder: Path, host: str) -> None:
    assert wrong(folder, UPSTREAM, f"server: {{host: '{host}'}}") == []


def test_S_11_it_does_not_start_on_an_open_address_given_by_hand(folder: Path) -> None:
    path = config_of(folder, UPSTREAM, "store: {data: data}")
    done = run(folder, "serve", "-c", path, "--host", "0.0.0.0", "--port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "AUDIOGATE_ADMIN_TOKEN" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "data").exists()


BOMB = "\n".join(f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" if at else "a0: &a0 [x]" for at in range(30))
FILES: dict[str, tuple[str, int, str]] = {
    "an alias bomb": (BOMB, 1, ""),
    "a Python object": (UPSTREAM + "\nkeys: !!python/object/apply:os.system ['true']", 2, ""),
    "a tag": (UPSTREAM + "\nkeys: !secret x", 2, ""),
    "100 MB": ("#" * 99 + "\n", 1, "1,000,000 bytes"),
    "a key twice": (UPSTREAM + "\nserver: {port: 1}\nserver: {port: 2}", 3, ""),
    "a key twice inside": (UPSTREAM + "\nserver:\n  port: 1\n  port: 2", 4, ""),
    "an unknown key": (UPSTREAM + "\nsrever: {}", 2, "did you mean 'server'"),
    "an unknown key inside": (UPSTREAM + "\nserver:\n  admin_tokne: x", 3, "admin_token"),
    "no end": (UPSTREAM + "\nserver: " + "{a: " * 5000, 2, ""),
    "no text": ("\x00\x00", 1, ""),
}


@pytest.mark.parametrize("name", FILES)
def test_S_18_a_hostile_file_is_refused_with_its_line_and_at_once(folder: Path, name: str) -> None:
    text, line, words = FILES[name]
    path = folder / "gateway.yaml"
    with path.open("w") as file:
        for _ in range(1_000_000 if name == "100 MB" else 1):
            file.write(text)
    began = time.perf_counter()
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    took = time.perf_counter() - began
    lines = [problem.line for problem in caught.value.problems]
    assert line in lines, caught.value.problems[:5]
    assert None not in lines
    assert words.lower() in str(caught.value).lower()
    assert took < 5, took
    print(f"S-18 {name}: {took * 1000:.0f} ms")
