"""`audiogate keys` and `audiogate teams`, while a gateway serves and without one."""

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launched import launched, processes_in, room, run, transcribe, write_config
from tests.stub import stub

KEY = re.compile(r"ag_[0-9A-Za-z]{10}_[0-9A-Za-z]{38}")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A room of its own."""
    with room() as one:
        yield one


def said(folder: Path, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    done = run(folder, *arguments, AUDIOGATE_CONFIG="gateway.yaml")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


async def test_a_key_is_made_used_rotated_and_revoked_while_the_gateway_serves(folder: Path) -> None:
    async with stub() as upstream:
        write_config(folder, upstream=upstream.url)
        async with launched(folder, "-c", "gateway.yaml") as one:

            async def status(key: str) -> int:
                async with one.client(key) as client:
                    return (await transcribe(client)).status_code

            async def command(*arguments: str) -> str:
                return (await asyncio.to_thread(said, folder, *arguments)).stdout

            old = (await command("keys", "create", "bob")).strip()
            assert await status(old) == 200
            new = (await command("keys", "rotate", "bob", "--overlap", "1h")).strip()
            assert old[:14] == new[:14]
            assert [await status(key) for key in (old, new)] == [200, 200]
            await command("keys", "limit", "bob", "--limit", "requests/day=1")
            assert await status(new) == 429
            await command("keys", "limit", "bob", "--none")
            assert await status(new) == 200
            await command("keys", "revoke", "bob")
            assert [await status(key) for key in (old, new)] == [401, 401]
            assert await one.stopped() == 0
            assert old not in one.said
            assert new not in one.said
    assert processes_in(folder) == []


def test_a_key_is_told_once_on_standard_output_alone(folder: Path) -> None:
    write_config(folder)
    limits = ("--limit", "usd/month=20", "--limit", "concurrency=4", "--limit", "requests/minute=60,burst=10")
    more = ("--exact", "--ip", "10.0.0.0/8", "--expires", "2099-01-01", "--note", "for it", "--model", "whisper-*")
    done = said(folder, "keys", "create", "bob", "--upstream", "stub", *limits, *more)
    text = done.stdout.removesuffix("\n")
    assert KEY.fullmatch(text)
    assert "only once" in done.stderr
    assert not KEY.search(done.stderr)
    shown = f"{text[:14]}…{text[-4:]}"
    for arguments in (
        ("keys", "list"),
        ("keys", "show", "bob"),
        ("keys", "list", "--json"),
        ("keys", "show", "bob", "--json"),
    ):
        told = said(folder, *arguments).stdout
        assert shown in told
        assert "usd" in told
        assert text[14:46] not in told
    found = json.loads(said(folder, "keys", "show", "bob", "--json").stdout)
    assert found["limits"][0] == {"measure": "usd", "per": "month", "amount": "20", "burst": None}
    assert found["limits"][2] == {"measure": "requests", "per": "minute", "amount": 60, "burst": 10}
    assert found["exact"] is True
    shown_to_people = said(folder, "keys", "show", "bob").stdout
    assert re.search(r"^exact: +yes$", shown_to_people, re.MULTILINE)
    assert "requests/minute=60,burst=10" in shown_to_people
    assert (found["ips"], found["expires"], found["note"]) == (["10.0.0.0/8"], "2099-01-01T00:00:00Z", "for it")
    assert (found["models"], found["upstreams"]) == (["whisper-*"], ["stub"])
    assert [row["measure"] for row in found["standing"]] == ["concurrency", "usd", "requests"]
    rotated = json.loads(said(folder, "keys", "rotate", "bob", "--overlap", "0", "--json").stdout)
    assert KEY.fullmatch(rotated["key"])
    assert rotated["previous_until"] is None
    assert "old one has ended" in said(folder, "keys", "rotate", "bob", "--overlap", "0").stderr


def test_teams_are_made_listed_shown_and_limited(folder: Path) -> None:
    write_config(folder)
    assert "There are no teams" in said(folder, "teams", "list").stdout
    said(folder, "teams", "create", "red", "--limit", "usd/day=1.5", "--model", "tts-1", "--note", "ours")
    assert "usd/day=1.5" in said(folder, "teams", "list").stdout
    assert "audio_seconds/day=90" in said(folder, "teams", "limit", "red", "--limit", "audio_seconds/day=90").stdout
    assert "ours" in said(folder, "teams", "show", "red").stdout
    found = json.loads(said(folder, "teams", "show", "red", "--json").stdout)
    assert [(row["limit"], row["used"], row["reserved"]) for row in found["standing"]] == [(90, 0, 0)]
    assert [row["name"] for row in json.loads(said(folder, "teams", "list", "--json").stdout)["data"]] == ["red"]
    assert "none" in said(folder, "teams", "limit", "red", "--none").stdout
    made = json.loads(said(folder, "teams", "create", "blue", "--timezone", "Asia/Shanghai", "--json").stdout)
    assert (made["origin"], made["timezone"]) == ("admin", "Asia/Shanghai")
    assert re.search(r"^time zone: +Asia/Shanghai$", said(folder, "teams", "show", "blue").stdout, re.MULTILINE)
    assert re.search(r"^time zone: +UTC$", said(folder, "teams", "show", "red").stdout, re.MULTILINE)
    said(folder, "keys", "create", "bob", "--team", "red")
    assert "Nothing is limited." in said(folder, "keys", "show", "bob").stdout
    said(folder, "teams", "limit", "red", "--limit", "usd/day=2")
    shown = said(folder, "keys", "show", "bob").stdout
    assert "The key itself is not limited." in shown
    assert "What its team 'red' may use" in shown
    assert "usd/day=2" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("keys", "create", "alice"), "The key 'alice' is declared in gateway.yaml; change it there."),
        (("teams", "limit", "default", "--none"), "There is no team called 'default'."),
        (("keys", "show", "zoe"), "There is no key called 'zoe'."),
        (("keys", "create", "a b"), "expected a name of 1 to 64 letters"),
        (("keys", "create", "x", "--team", "nope"), "no team is called 'nope'"),
        (("keys", "create", "x", "--upstream", "stubb"), "did you mean 'stub'?"),
        (("keys", "create", "x", "--limit", "usd=2"), "usd are counted per period"),
        (("keys", "create", "x", "--ip", "10.0.0.1/8"), "expected an address or a network"),
        (("keys", "create", "x", "--expires", "soon"), "expected a date"),
        (("keys", "create", "x", "--limit", "usd/day=1,burst=1"), "with requests per minute or hour alone"),
        (("teams", "create", "x", "--timezone", "Mars"), "expected a time zone"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_with_code_1(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    write_config(folder)
    done = said(folder, *arguments, code=1)
    assert done.stdout == ""
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("keys",),
        ("teams",),
        ("keys", "create"),
        ("keys", "create", "x", "--limit", "much"),
        ("keys", "limit", "x"),
        ("keys", "limit", "x", "--none", "--limit", "usd/day=1"),
        ("keys", "rotate", "x", "--overlap", "long"),
        ("teams", "limit", "x"),
        ("teams", "create", "x", "--limit", "much"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_with_code_2(folder: Path, arguments: tuple[str, ...]) -> None:
    write_config(folder)
    done = said(folder, *arguments, code=2)
    assert "Usage:" in done.stdout + done.stderr
    assert not (folder / "data").exists()
