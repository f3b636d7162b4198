"""`audiogate import` as an operator runs it."""

import json
import re
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.config.load import load
from gateway.errors import SetupError
from tests.imports.importing import CORPUS, NEW_API

EXAMPLE = str(CORPUS / "litellm.yaml")


def test_the_configuration_goes_out_and_the_account_beside_it(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["import", "litellm", EXAMPLE])
    assert done.exit_code == 0
    assert done.stdout.startswith("# yaml-language-server")
    assert "taken     model_list[1] whisper-1: upstream openai, as whisper-1 there\n" in done.stderr
    assert "Of LiteLLM: " in done.stderr
    assert done.stderr.endswith("then run `audiogate check -c FILE`.\n")
    file = tmp_path / "gateway.yaml"
    file.write_text(done.stdout)
    variables = {name: "x" for name in re.findall(r"^#   (\w+):", done.stdout, re.MULTILINE)}
    assert len(load(file, variables).market.upstreams) == 6


def test_files_are_written_and_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    to, env = tmp_path / "gateway.yaml", tmp_path / "audiogate.env"
    done = CliRunner().invoke(app, ["import", "litellm", EXAMPLE, "--to", str(to), "--env-file", str(env)])
    assert (done.exit_code, done.stdout) == (0, "")
    assert "Set " not in done.stderr  # all that is needed is in the file
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    variables = dict(line.split("=", 1) for line in env.read_text().splitlines())
    assert variables["UPSTREAM_GROQ_KEY"] == "gsk_literal-secret-0123456789"
    upstreams = {one.name: one.key for one in load(to, variables).market.upstreams}
    assert upstreams["groq"] == "gsk_literal-secret-0123456789"
    assert upstreams["openai"] == "sk-first-account-0123456789"


def test_the_account_as_json() -> None:
    done = CliRunner().invoke(app, ["import", "new-api", *map(str, NEW_API), "--json"])
    assert (done.exit_code, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["ok"] is True
    assert found["upstreams"] == ["OpenAI-main", "channel-2", "local", "local-2"]
    assert found["keys"] == ["laptop-of", "nightly"]
    assert set(found["variables"]) == {
        f"UPSTREAM_{name}_KEY" for name in ("OPENAI_MAIN", "CHANNEL_2", "LOCAL", "LOCAL_2")
    }
    assert found["config"].startswith("# yaml-language-server")
    assert {line["outcome"] for line in found["lines"]} == {"taken", "changed", "to do", "left out"}
    assert "sk-of-the-aggregator" not in done.stdout


@pytest.mark.parametrize("option", ["--to", "--env-file"])
def test_what_is_there_is_left_as_it_is(tmp_path: Path, option: str) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    done = CliRunner().invoke(app, ["import", "litellm", EXAMPLE, option, str(file)])
    assert done.exit_code == 1
    assert isinstance(done.exception, SetupError)
    assert "is there already" in str(done.exception)
    assert file.read_text() == "mine"


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["import", "litellm", EXAMPLE, "--to", str(tmp_path / "no" / "file")])
    assert isinstance(done.exception, SetupError)
    assert "cannot be written" in str(done.exception)


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_nothing_to_take_over_is_1_and_says_why(tmp_path: Path, more: list[str]) -> None:
    file, to = tmp_path / "config.yaml", tmp_path / "out.yaml"
    file.write_text("model_list: [{model_name: gpt-4o, litellm_params: {model: gpt-4o}}]\n")
    done = CliRunner().invoke(app, ["import", "litellm", str(file), "--to", str(to), *more])
    assert done.exit_code == 1
    assert "nothing says that it is for audio" in (done.stdout if more else done.stderr)
    assert not to.exists()


def test_wrong_usage_is_2() -> None:
    assert CliRunner().invoke(app, ["import", "litellm"]).exit_code == 2
    assert CliRunner().invoke(app, ["import", "nothing", "x"]).exit_code == 2
