"""The demo: a gateway with a store and an upstream of its own, tried with the real SDK, then left running."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from gateway.app import wall
from gateway.config.load import load
from gateway.config.model import Config
from gateway.demo.walk import Walk, walk
from gateway.errors import SetupError
from gateway.groundwork import embedded
from gateway.metrics import Metrics
from gateway.policy.keys import DRAW_BYTES, mint
from gateway.server import listen, origin, run
from gateway.store.connection import Connection
from gateway.store.totals import Totals

PORT = 8080
MODELS = "[whisper-1, gpt-4o-transcribe, gpt-4o-mini-transcribe, gpt-4o-transcribe-diarize, tts-1, tts-1-hd]"
OFFLINE = """\
  demo:
    kind: openai
    base_url: {url}
    allow_private: true
    key: {key}
    models: {models}
"""
AGGREGATORS = {
    "AIGC369_API_KEY": """\
  aigc369:
    kind: newapi
    base_url: https://api.aigc369.com/v1
    key: ${AIGC369_API_KEY}
    models: [whisper-1, tts-1]
""",
    "FOURALLAPI_API_KEY": """\
  4allapi:
    kind: newapi
    base_url: https://api.4allapi.com/v1
    key: ${FOURALLAPI_API_KEY}
    models: [whisper-1]
    can: {routes: [transcription], formats: [json]}
""",
}
REST = """\
prices:
  "*transcribe*": {{per_minute: 0.006}}
  whisper-1: {{per_minute: 0.006}}
  "tts-1*": {{per_1m_characters: 15}}
  "/v1/audio/*": free
teams:
  demo: {{limits: [{{measure: usd, per: day, amount: 1}}, {{measure: requests, per: minute, amount: 60}}]}}
keys:
  demo: {{team: demo, key: {key}}}
store: {{data: "{data}", url: ""}}
server: {{log: text, admin_token: {token}}}
"""


def demo(environ: Mapping[str, str], *, port: int | None, once: bool) -> None:
    """Run it until Ctrl-C, or with `once` until everything has been tried. Raises SetupError."""
    accounts = [variable for variable in AGGREGATORS if environ.get(variable)]
    with tempfile.TemporaryDirectory(prefix="audiogate-demo-") as folder, _upstream(offline=not accounts) as offline:
        key, token = mint(secrets.token_bytes(DRAW_BYTES)), secrets.token_urlsafe(24)
        upstreams = offline + "".join(AGGREGATORS[name] for name in accounts)
        file = Path(folder) / "gateway.yaml"
        file.write_text("upstreams:\n" + upstreams + REST.format(key=key, token=token, data=Path(folder) / "data"))
        config = load(file, environ)
        listener = _listen(port)
        result = Walk(origin(listener), key, token, speaks=not accounts or "AIGC369_API_KEY" in accounts)

        def started() -> None:
            threading.Thread(target=_try_out, args=(result, config, once), daemon=True).start()

        run(config, listener, minted=lambda _: None, started=started)
    if result.error is not None:
        raise SetupError(f"The demo did not work: {result.error}")


def _try_out(result: Walk, config: Config, once: bool) -> None:
    """In a thread of its own: use the gateway as a stranger's program would, then say what there is to see."""
    try:
        walk(result)
        print(_report(result, asyncio.run(_cost(config)), stays=not once), flush=True)
    except Exception as error:
        result.error = error
    if once or result.error is not None:
        os.kill(os.getpid(), signal.SIGINT)


async def _cost(config: Config) -> dict[str, int]:
    """Requests and micro-USD of today, waiting for the last request's bill."""
    store = embedded(config)
    assert store is not None
    connection = Connection(await store.start(), Metrics(models=(), teams=()))
    today = datetime.fromtimestamp(wall(), UTC).date()
    try:
        for _ in range(500):  # the last bill is written just after the answer
            if not await connection.client.hlen(connection.name("held")):
                break
            await asyncio.sleep(0.02)
        rows = [row async for row in Totals(connection).days(today, today)]
    finally:
        await connection.close()
        await store.stop()
    return {row.route: row.sums.get("usd", 0) for row in rows}


def _report(result: Walk, cost: Mapping[str, int], *, stays: bool) -> str:
    lines = [
        "",
        "audiogate is up. What was tried through it, with the openai SDK:",
        "",
        f"  transcribed   “{result.text}”",
        f"                {result.seconds:.1f} s of audio in {result.took:.1f} s, {_dollars(cost, 'transcription')}",
    ]
    if result.speaks:
        lines.append(f"  spoke         {result.spoken:,} bytes of MP3, {_dollars(cost, 'speech')}")
    lines += [
        "",
        f"  export OPENAI_BASE_URL={result.origin}/v1",
        f"  export OPENAI_API_KEY={result.key}",
        "",
        '  curl -s $OPENAI_BASE_URL/audio/transcriptions -H "Authorization: Bearer $OPENAI_API_KEY" \\',
        f"       -F file=@{result.sample} -F model=whisper-1",
        "",
        f"  the pages     {result.origin}/sign-in#{result.token}",
        f"  metrics       {result.origin}/metrics",
        f"  the API       {result.origin}/openapi.json",
    ]
    if stays:
        lines += ["", "It keeps serving. Ctrl-C stops it and removes everything."]
    return "\n".join(lines)


def _dollars(cost: Mapping[str, int], route: str) -> str:
    return f"${cost.get(route, 0) / 1_000_000:.6f}"


def _listen(port: int | None) -> socket.socket:
    if port is not None:
        return listen("127.0.0.1", port)
    try:
        return listen("127.0.0.1", PORT)
    except SetupError:
        return listen("127.0.0.1", 0)  # the usual port is taken: any will do for a demo


@contextmanager
def _upstream(*, offline: bool) -> Iterator[str]:
    """The offline upstream as a process of its own, and its entry in the configuration; "" where none is wanted."""
    if not offline:
        yield ""
        return
    key = "sk-demo-" + secrets.token_hex(8)
    command = [sys.executable, "-m", "gateway.demo.upstream", "--port", "0", "--key", key]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("listening "):
            said = process.communicate(timeout=10)[1].strip().splitlines()
            raise SetupError(said[-1] if said else "the demo upstream did not start")
        yield OFFLINE.format(url=line.split()[1] + "/v1", key=key, models=MODELS)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
