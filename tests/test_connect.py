"""The table of applications: the page is what it gives, and what can be run here runs against a gateway."""

import ast
import asyncio
import contextlib
import io
import json
import os
import runpy
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.connect import App, Block, snippets
from gateway.connect.apps import literal
from gateway.connect.document import COMMAND, page
from tests.media import make
from tests.running import Running, serving
from tests.stub import Answer, said

ROOT = Path(__file__).parent.parent
NODE = ROOT / "tests" / "node"
SPOKEN = Answer(pieces=(b"ID3 spoken",), content_type="audio/mpeg")
PRINTABLE = st.text(min_size=1, max_size=20).filter(str.isprintable)


def table(**facts: str | None) -> dict[str, App]:
    """The applications by their id."""
    told = {
        "base_url": "https://gate.example/v1",
        "key": "ag_key",
        "transcribe": "whisper-1",
        "speak": "tts-1",
        **facts,
    }
    return {app.id: app for app in snippets(**told)}  # type: ignore[arg-type]


def blocks(apps: dict[str, App], *languages: str) -> Iterator[Block]:
    """All blocks in these languages."""
    yield from (block for app in apps.values() for block in app.blocks if block.language in languages)


def of(gateway: Running, app: str, title: str) -> str:
    """A block for a running gateway."""
    apps = table(base_url=gateway.url, key=gateway.key)
    return next(block.text for block in apps[app].blocks if block.title == title)


async def ran(folder: Path, *command: str) -> str:
    """What a program printed in a folder that has a recording."""
    (folder / "meeting.mp3").write_bytes(make("mp3", 1.0))
    program = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env={"PATH": os.environ["PATH"], "NO_PROXY": "*", "HOME": str(folder)},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, problems = await program.communicate()
    assert program.returncode == 0, problems.decode()
    return out.decode()


async def executed(folder: Path, code: str) -> str:
    """What Python code prints in such a folder. In this process, where the SDK is loaded once for many tests."""
    (folder / "meeting.mp3").write_bytes(make("mp3", 1.0))
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        await asyncio.to_thread(exec, compile(code, "snippet", "exec"), {})
    return printed.getvalue()


def test_the_page_is_what_the_table_gives() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        runpy.run_module("gateway.connect", run_name="__main__")
    assert (ROOT / "docs" / "connect.md").read_text() == page() == printed.getvalue(), f"run: {COMMAND}"


def test_every_application_has_an_id_a_title_a_note_and_something_to_paste() -> None:
    apps = table()
    programs = {"openai-python", "openai-node", "curl", "langchain", "vercel-ai-sdk"}
    assert set(apps) == programs | {"open-webui", "home-assistant", "wyoming", "sillytavern", "dify", "n8n"}
    for app in apps.values():
        assert app.title
        assert app.note.endswith(".")
        assert app.blocks
        assert all("%" not in block.text for block in app.blocks)
        assert any("ag_key" in block.text for block in app.blocks), app.id


@settings(max_examples=40, deadline=None)
@given(key=PRINTABLE, transcribe=PRINTABLE, speak=PRINTABLE)
def test_whatever_the_names_are_each_block_is_of_its_language(key: str, transcribe: str, speak: str) -> None:
    apps = table(key=key, transcribe=transcribe, speak=speak)
    for block in blocks(apps, "python"):
        texts = [node.value for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.Constant)]
        assert key in texts
    for block in blocks(apps, "json"):
        assert transcribe in str(json.loads(block.text)) or repr(transcribe)[1:-1] in str(json.loads(block.text))
    for block in blocks(apps, "sh"):
        words = shlex.split(block.text.replace("\\\n", " "))
        assert "pip" in words or "npm" in words or f"Authorization: Bearer {key}" in words
    for block in blocks(apps, "yaml"):
        found = yaml.safe_load(block.text)
        assert key in leaves(found)


def leaves(value: object) -> set[object]:
    """All that stands in a value."""
    if isinstance(value, dict):
        return set().union(*map(leaves, value.values()))
    if isinstance(value, list):
        return set().union(*map(leaves, value))
    return {value}


@pytest.mark.parametrize(
    ("facts", "gone"),
    [
        ({"speak": None}, {"sillytavern", "wyoming"}),
        ({"transcribe": None}, {"langchain", "wyoming"}),
    ],
)
def test_without_a_model_what_needs_it_is_left_out(facts: dict[str, str | None], gone: set[str]) -> None:
    apps = table(**facts)
    assert set(table()) - set(apps) == gone
    missing = "tts-1" if "speak" in facts else "whisper-1"
    assert not any(missing in block.text for app in apps.values() for block in app.blocks)


@pytest.mark.parametrize(
    "facts",
    [
        {"base_url": "https://x'; rm -rf ~; '/v1"},
        {"base_url": "javascript:alert(1)"},
        {"base_url": "https://h/v1?x"},
        {"base_url": ""},
        {"key": "ag_\n"},
        {"transcribe": "a\x1b[2J"},
        {"speak": "a\u2028b"},
    ],
)
def test_what_nobody_should_paste_is_refused(facts: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        table(**facts)


def test_a_slash_at_the_end_makes_no_difference() -> None:
    assert table(base_url="https://gate.example/v1/") == table()


def test_texts_are_quoted_as_their_language_does() -> None:
    assert [literal("it's $HOME", language) for language in ("sh", "python", "js", "text")] == [
        "'it'\\''s $HOME'", '"it\'s $HOME"', '"it\'s $HOME"', "it's $HOME",
    ]  # fmt: skip
    assert literal("whisper-1", "sh") == "whisper-1"


@pytest.mark.parametrize("program", ["python", "node", "curl"])
async def test_what_it_says_about_transcription_works(store_url: str, data: Path, tmp_path: Path, program: str) -> None:
    async with serving(store_url, data, said("hello")) as (gateway, one):
        assert "hello" in await run(gateway, program, "Transcribe", tmp_path)
        await gateway.records()
    assert dict(one.seen[0].fields)["model"] == b"whisper-1"
    assert dict(one.seen[0].fields)["file"] == make("mp3", 1.0)


@pytest.mark.parametrize("program", ["python", "node", "curl"])
async def test_what_it_says_about_speech_works(store_url: str, data: Path, tmp_path: Path, program: str) -> None:
    async with serving(store_url, data, SPOKEN) as (gateway, one):
        await run(gateway, program, "Speak", tmp_path)
        await gateway.records()
    assert (tmp_path / "hello.mp3").read_bytes() == b"ID3 spoken"
    assert one.seen[0].json == {"model": "tts-1", "voice": "alloy", "input": "Hello!"}


async def test_what_it_says_about_models_and_limits_works(store_url: str, data: Path, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    async with serving(store_url, data) as (gateway, _):
        title = "Which models there are, and what is left of the key's limits"
        told = await ran(tmp_path, "sh", "-ec", of(gateway, "curl", title))
    assert '"whisper-1"' in told
    assert '"alice"' in told


async def run(gateway: Running, program: str, title: str, folder: Path) -> str:
    """Run a block as its reader would."""
    if program == "python":
        return await executed(folder, of(gateway, "openai-python", title))
    if program == "curl":
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed")
        return await ran(folder, "sh", "-ec", of(gateway, "curl", title))
    if shutil.which("node") is None or not (NODE / "node_modules" / "openai").exists():
        pytest.skip("node or the SDK is not installed")
    (folder / "node_modules").symlink_to(NODE / "node_modules")
    (folder / "program.mjs").write_text(of(gateway, "openai-node", title))
    return await ran(folder, "node", "program.mjs")


async def test_scripts_for_node_can_be_read(tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    for number, block in enumerate(blocks(table(), "js")):
        (tmp_path / f"{number}.mjs").write_text(block.text)
        await ran(tmp_path, "node", "--check", f"{number}.mjs")
