"""The commands that somebody uses first: init, config, completion; in this process."""

import json
import os
import socket
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.cli.init import SCHEMA
from gateway.config.load import load
from gateway.config.schema import schema_text
from gateway.errors import SetupError
from tests.launched import config_of

SECRET = "sk-secret-of-mine"
NAMES = ("AUDIOGATE", "OPENAI", "AIGC369", "FOURALLAPI", "TZ", "SHELL")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, empty; the environment says nothing of ours."""
    for name in [name for name in os.environ if name.startswith(NAMES)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, **environ: str) -> Result:
    """The command, to its end. A SetupError is printed by `main`, not by this."""
    return CliRunner().invoke(app, arguments, env=environ)


def test_init_writes_a_file_that_check_finds_right_and_prints_the_next_two_commands(folder: Path) -> None:
    done = run("init", AIGC369_API_KEY=SECRET, TZ="Asia/Shanghai")
    assert (done.exit_code, done.stderr) == (0, "")
    assert {path.name for path in folder.iterdir()} == {"gateway.yaml", SCHEMA}
    assert done.stdout.endswith("Next:\n  audiogate check\n  audiogate serve\n")
    assert "upstreams: those of AIGC369_API_KEY\n" in done.stdout
    assert "days and months begin by: Asia/Shanghai\n" in done.stdout
    assert SECRET not in done.stdout + Path("gateway.yaml").read_text()
    assert (folder / SCHEMA).read_text() == schema_text()
    assert (folder / "gateway.yaml").read_text().splitlines()[0].endswith(f"$schema={SCHEMA}")
    checked = run("check", AIGC369_API_KEY=SECRET)
    assert checked.exit_code == 0
    assert checked.stdout.startswith("gateway.yaml is right.\n")


def test_init_without_a_key_says_so_in_one_sentence_and_writes_all_the_same(folder: Path) -> None:
    done = run("init")
    assert done.exit_code == 0
    (line,) = done.stderr.splitlines()
    assert line == "No key of an upstream is set: export AIGC369_API_KEY or FOURALLAPI_API_KEY before you go on."
    assert load(folder / "gateway.yaml", {"FOURALLAPI_API_KEY": "x"}).market.upstreams[0].name == "4allapi"


def test_init_never_writes_over_a_file_unless_it_is_told_to(folder: Path) -> None:
    for name in ("gateway.yaml", SCHEMA):
        (folder / name).write_text("mine")
    done = run("init")
    assert isinstance(done.exception, SetupError)
    assert "--force" in str(done.exception)
    assert {path.read_text() for path in folder.iterdir()} == {"mine"}
    (folder / "gateway.yaml").unlink()
    assert run("init").exit_code == 0
    assert (folder / SCHEMA).read_text() == "mine"
    assert run("init", "--force").exit_code == 0
    assert (folder / SCHEMA).read_text() == schema_text()


@pytest.mark.parametrize(
    ("arguments", "environ", "path"),
    [
        (("init", "new folder"), {}, "new folder/gateway.yaml"),
        (("init", "-c", "etc/one.yaml"), {}, "etc/one.yaml"),
        (("init",), {"AUDIOGATE_CONFIG": "two.yaml"}, "two.yaml"),
        (("init", "three"), {"AUDIOGATE_CONFIG": "two.yaml"}, "three/gateway.yaml"),
    ],
)
def test_init_writes_where_it_is_asked_to(
    folder: Path, arguments: tuple[str, ...], environ: dict[str, str], path: str
) -> None:
    done = run(*arguments, **environ)
    assert done.exit_code == 0
    assert (folder / path).exists()
    assert (folder / path).with_name(SCHEMA).exists()
    named = f"'{path}'" if " " in path else path
    assert f"  audiogate serve --config {named}\n" in done.stdout


def test_init_tells_wrong_usage_and_a_place_that_cannot_be_written(folder: Path) -> None:
    assert run("init", "a", "-c", "b.yaml").exit_code == 2
    (folder / "file").write_text("")
    done = run("init", "file")
    assert isinstance(done.exception, SetupError)
    assert "name another place" in str(done.exception)
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_init_takes_a_port_that_is_free(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr("gateway.config.template.PORT", port)
        done = run("init", AIGC369_API_KEY=SECRET)
    assert f"port: {port}\n" not in done.stdout
    assert int(done.stdout.partition("port: ")[2].split()[0]) > port


def test_the_projects_own_file_serves_where_there_is_none_in_the_folder(folder: Path) -> None:
    (folder / "config").mkdir()
    (folder / "config/gateway.yaml").write_text(Path(config_of(folder, *ONE)).read_text())
    (folder / "gateway.yaml").unlink()
    assert run("check").stdout.startswith("config/gateway.yaml is right.")
    config_of(folder, *ONE)
    assert run("check").stdout.startswith("gateway.yaml is right.")


ONE = (
    "server: {port: 81, admin_token: '${TOKEN:-}'}",
    "upstreams: {one: {kind: openai, base_url: 'http://127.0.0.1:9/v1', allow_private: true, models: [tts-1]}}",
)


def test_config_show_is_yaml_or_json_with_defaults_and_without_secrets(folder: Path) -> None:
    config_of(folder, *ONE)
    environ = {"TOKEN": "k7Qz-9fLw2xB4vNcR8"}
    as_yaml, as_json = run("config", "show", **environ), run("config", "show", "--json", **environ)
    assert (as_yaml.exit_code, as_json.exit_code) == (0, 0)
    assert "k7Qz" not in as_yaml.stdout + as_json.stdout
    assert "  admin_token: •••\n" in as_yaml.stdout
    found = json.loads(as_json.stdout)
    assert yaml.safe_load(as_yaml.stdout) == found
    assert (found["server"]["port"], found["server"]["workers"]) == (81, 1)
    assert found["upstreams"]["one"]["can"]["routes"] == ["other", "speech", "transcription", "translation"]


def test_config_schema_is_the_one_that_is_shipped(folder: Path) -> None:
    done = run("config", "schema")
    assert done.stdout == schema_text()
    jsonschema.Draft202012Validator.check_schema(json.loads(done.stdout))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_for_the_shell_that_is_named_or_used(folder: Path, shell: str) -> None:
    named, used = run("completion", shell), run("completion", SHELL=f"/usr/bin/{shell}")
    assert named.exit_code == used.exit_code == 0
    assert named.stdout == used.stdout
    assert "_AUDIOGATE_COMPLETE" in named.stdout
    assert f"complete_{shell}" in named.stdout


def test_completion_for_no_shell_that_is_known_is_wrong_usage(folder: Path) -> None:
    assert run("completion", SHELL="/bin/tcsh").exit_code == 2
    assert run("completion", "tcsh").exit_code == 2


def test_the_script_completes_verbs(folder: Path) -> None:
    done = CliRunner().invoke(app, [], prog_name="audiogate", env={"_AUDIOGATE_COMPLETE": "complete_bash", **COMPLETE})
    assert {"config", "completion"} <= set(done.stdout.split())


COMPLETE = {"COMP_WORDS": "audiogate co", "COMP_CWORD": "1"}
