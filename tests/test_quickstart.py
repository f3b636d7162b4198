"""The quick start's commands do what it says, against a gateway with an upstream of the test's choosing."""

import asyncio
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.launched import environment, launched, room, until, write_config
from tests.stub import said, stub
from tests.test_docs import shell_commands

ROOT = Path(__file__).parent.parent
AUDIOGATE = f"{sys.executable} -m gateway"
COMMANDS = shell_commands((ROOT / "docs" / "quickstart.md").read_text())
pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


async def ran(command: str, folder: Path, **environ: str) -> str:
    """What a command printed on standard output."""
    program = await asyncio.create_subprocess_exec(
        "sh", "-ec", command, cwd=ROOT, env=environment(folder, NO_PROXY="*", PYTHONPATH=str(ROOT), **environ),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, problems = await program.communicate()
    assert program.returncode == 0, problems.decode()
    return out.decode()


def test_it_has_at_most_ten_commands() -> None:
    assert 5 < len(COMMANDS) <= 10


async def test_its_commands_lead_to_a_transcript_a_second_key_and_what_was_used() -> None:
    start = COMMANDS.index("make run")
    exports, transcribe, create, ask, usage = COMMANDS[start + 1 :]
    with room() as folder:
        async with stub() as upstream:
            upstream.answers = [said("It works.")]
            config = str(write_config(folder, upstream=upstream.url))
            text = Path(config).read_text().replace("keys: {alice: {}}", "keys: {default: {}}")
            Path(config).write_text(text.replace("data: data", f"data: {folder}/data"))
            async with launched(folder, "-c", config) as gateway:

                async def typed(command: str, key: str) -> str:
                    mine = exports.replace("http://127.0.0.1:8080", gateway.origin).replace("ag_...", key)
                    program = command.replace("ag_...", key).replace(".venv/bin/audiogate", AUDIOGATE)
                    return await ran(f"{mine}\n{program}", folder, AUDIOGATE_CONFIG=config)

                assert '"It works."' in await typed(transcribe, gateway.key)
                second = (await typed(create, gateway.key)).strip()
                assert re.fullmatch(r"ag_\w+", second)
                assert '"It works."' in await typed(transcribe, second)
                standing = await typed(ask, second)
                assert '"name":"alice"' in standing.replace(" ", "")
                assert '"limit":"5"' in standing.replace(" ", "")
                await until(lambda: gateway.said.count('"cost_micro_usd"') >= 2)
                table = await typed(usage, gateway.key)
                assert {"default", "alice", "whisper-1"} <= set(table.split())
                assert await gateway.stopped() == 0
