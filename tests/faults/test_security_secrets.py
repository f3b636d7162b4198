"""What is secret is told to nobody: not in answers, not in logs, not in files, not in the store."""

import asyncio
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from gateway.policy.keys import DRAW_BYTES, mint
from tests.faults.test_security_doors import guarded
from tests.launched import WAV, config_of, environment, launched, room, run, until
from tests.running import key_text
from tests.stub import Answer, failed, said, stub
from tests.wire import dial

CANARIES = {
    "admin token": "cAnArY-a1-Qw3rTz9Kp",
    "metrics token": "cAnArY-m2-Lk8jHg5Fd",
    "pepper": "cAnArY-p3-Zx7cVb4Nm",
    "upstream": "sk-cAnArY-u4-Po0iUz6Tr",
    "other upstream": "sk-cAnArY-o5-Ty1uRe2Wq",
    "store": "cAnArY-s6-Mn5bVc9Xy",
    "key": mint(b"\x07" * DRAW_BYTES),
    "team's key": mint(b"\x09" * DRAW_BYTES),
}
FILE = """\
server: {{admin_token: "{admin token}", metrics_token: "{metrics token}", workers: {workers}}}
store: {{data: data, url: "{url}", pepper: "{pepper}"}}
upstreams:
  a: {{kind: newapi, base_url: "{a}", allow_private: true, key: "{upstream}", models: [whisper-1, tts-1], priority: 0}}
  b: {{kind: openai, base_url: "{b}", allow_private: true, key: "{other upstream}", models: [whisper-1, tts-1]}}
prices: {{whisper-1: {{per_minute: 0.006}}, tts-1: {{per_1m_characters: 15}}}}
teams: {{red: {{}}}}
keys:
  alice: {{key: "{key}"}}
  rita: {{team: red, key: "{team's key}", limits: [{{measure: requests, per: day, amount: 1}}]}}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A room of its own."""
    with room() as one:
        yield one


def leaks(told: dict[str, bytes], *, but: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Which secrets are in what was told, whole or but for their ends."""
    found = []
    for name, secret in CANARIES.items():
        core = secret[14:-4].encode() if secret.startswith("ag_") else secret[-12:].encode()
        found += [(name, where) for where, text in told.items() if core in text and name not in but]
    return found


def wrote(folder: Path) -> dict[str, bytes]:
    """All files of the room but the configuration."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "gateway.yaml"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


async def trouble(client: httpx2.AsyncClient, told: dict[str, bytes]) -> None:
    """Requests of every kind, good and bad; what is answered goes into `told`."""
    form: dict[str, Any] = {"data": {"model": "whisper-1"}, "files": {"file": ("x.wav", WAV)}}
    speech: dict[str, Any] = {"json": {"model": "tts-1", "input": "x", "voice": "v"}}
    for number, secret in enumerate(CANARIES.values()):
        headers = {"authorization": f"Bearer {secret}"}
        for method, path, more in (
            ("POST", "/v1/audio/transcriptions", form),
            ("POST", "/v1/audio/speech", speech),
            ("POST", "/v1/audio/speech", {"content": b"{"}),
            ("GET", "/v1/models", {}),
            ("GET", "/v1/usage", {}),
            ("GET", "/v1/audio/voices", {}),
            ("GET", "/metrics", {}),
            ("GET", "/openapi.json", {}),
            ("GET", "/admin/keys", {}),
            ("GET", "/admin/requests", {}),
            ("GET", "/admin/export", {}),
            ("GET", "/admin/audit", {}),
            ("POST", "/admin/keys", {"json": {"name": "bob", "limits": "x"}}),
            ("GET", "/admin/keys/alice", {}),
            ("GET", "/nowhere", {}),
        ):
            answer = await client.request(method, path, headers=headers, **more)
            told[f"answer {number} {method} {path}"] = f"{answer.headers!r}".encode() + answer.content


async def test_S_12_no_secret_is_told_whatever_goes_wrong(folder: Path) -> None:
    """Good and failing upstreams, some of which tell our own key; wrong files; a crash; every command."""
    told: dict[str, bytes] = {}
    async with stub() as a, stub() as b:
        words = {**CANARIES, "a": a.url, "b": b.url, "url": "", "workers": "1"}
        echo = f"Incorrect API key provided: {CANARIES['upstream']}. Bearer {CANARIES['other upstream']}"
        a.answers = [failed(401, echo), said(), failed(500, echo), failed(400, echo), Answer(refuse=True), said()]
        b.answers = [failed(400, echo), failed(429, echo), Answer(pieces=(b"{",), cut=True), said()]
        path = folder / "gateway.yaml"
        path.write_text(FILE.format_map(words))
        debug = environment(folder, PYTHONASYNCIODEBUG="1", PYTHONFAULTHANDLER="1", PYTHONUNBUFFERED="1")
        async with launched(folder, "-c", str(path), environ=debug) as one:
            async with one.client() as client:
                await trouble(client, told)
            for bad in (
                "keys: {alice: {key: '{key}x'}}",
                "server: {admin_token: [{admin token}]}",
                "store: {url: '{store}'}",
            ):
                path.write_text(
                    FILE.format_map(words) + re.sub(r"\{(\w[\w ]+)\}", lambda found: CANARIES[found[1]], bad)
                )
                before = one.said.count("nothing is changed")
                one.process.send_signal(signal.SIGHUP)
                await until(
                    lambda before=before: one.said.count("nothing is changed") > before, else_tell=lambda: one.said
                )
            path.write_text(FILE.format_map(words))
            for verb in (["check"], ["check", "--json"], ["keys", "list"], ["keys", "show", "alice"], ["upstreams"]):
                done = await asyncio.to_thread(run, folder, *verb, "-c", str(path))
                assert done.returncode == 0, (verb, done.stderr)
                told[" ".join(verb)] = (done.stdout + done.stderr).encode()
            one.process.send_signal(signal.SIGABRT)
            assert await one.ended() != 0
            assert "Current thread" in one.said, "it left a crash dump"
        told |= {f"crashed: {name}": text for name, text in wrote(folder).items()}
        words["url"] = f"redis://:{CANARIES['store']}@127.0.0.1:9/0"
        path.write_text(FILE.format_map(words))
        for verb in (["check"], ["keys", "list"], ["usage"]):
            done = await asyncio.to_thread(run, folder, *verb, "-c", str(path))
            told[f"away: {' '.join(verb)}"] = (done.stdout + done.stderr).encode()
    assert len(a.seen) > 3
    assert {seen.headers["authorization"] for seen in a.seen} == {f"Bearer {CANARIES['upstream']}"}
    assert leaks({"a": "".join(CANARIES.values()).encode()}), "it would be seen"
    assert leaks(told) == []
    print(f"S-12 {len(CANARIES)} canaries, {len(told)} texts of {sum(map(len, told.values()))} bytes: 0 hits")


HOSTILE = '\x1b[2J\x1b]0;pwned\x07\u009b31m\r\n{"level":"error"}\u2028\u202egnp.exe\x00\x7f'


@pytest.mark.parametrize("form", ["json", "text"])
async def test_S_13_what_callers_write_is_one_line_of_the_log_and_no_more(folder: Path, form: str) -> None:
    key = key_text()
    async with stub() as one:
        config = config_of(
            folder,
            f"server: {{log: {form}}}",
            "store: {data: data}",
            f"upstreams: {{a: {{kind: openai, base_url: '{one.url}', allow_private: true, models: ['*']}}}}",
            "prices: {'*': free}",
            f"keys: {{alice: {{key: {key}}}}}",
        )
        one.answers = [
            Answer(headers={"x-request-id": HOSTILE[:7]}),
            failed(500, HOSTILE),
            failed(400, HOSTILE),
            said(),
        ]
        async with launched(folder, "-c", config) as gateway:
            before = len(gateway.said.splitlines())
            async with gateway.client(key) as client:
                for _ in range(3):
                    body = {"model": HOSTILE, "input": HOSTILE, "voice": HOSTILE}
                    await client.post("/v1/audio/speech", json=body, headers={b"user-agent": HOSTILE[:6].encode()})
                    await client.post(
                        "/v1/audio/transcriptions",
                        data={"model": f"m{HOSTILE}"},
                        files={"file": (HOSTILE, WAV)},
                    )
                    await client.get("/v1/audio/x%0d%0a%1b%5b2J?x=%0a")
                huge = await client.get("/v1/models", headers={"user-agent": "x" * 1_000_000})
                assert huge.status_code in (400, 431)
                await until(lambda: len(gateway.said.splitlines()) >= before + 6, else_tell=lambda: gateway.said)
            assert await gateway.stopped() == 0
        raw = (folder / "said.log").read_bytes()
    lines = raw.decode().split("\n")[before:-1]
    for line in lines:
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u2028\u2029]", line), repr(line)
        if form == "json":
            assert isinstance(json.loads(line), dict)
    requests = [line for line in lines if "req_" in line]
    assert len(raw) < 100_000
    print(f"S-13 {form}: {len(lines)} lines, {len(requests)} of requests")
    assert len({re.findall(r"req_[0-9a-f]{32}", line)[0] for line in requests}) == len(requests) <= 9


async def test_S_15_the_store_holds_no_key(store_url: str, data: Path) -> None:
    async with guarded(store_url, data) as (gateway, _, client):
        headers = {"authorization": "Bearer operators-alone-0123456789"}
        made = (await client.post("/admin/keys", json={"name": "bob"}, headers=headers)).json()["key"]
        turned = (await client.post("/admin/keys/bob/rotate", json={"overlap_seconds": 60}, headers=headers)).json()[
            "key"
        ]
        texts = [made, turned, *(key_text(number) for number in range(1, 6))]
        for text in texts:
            for path in ("/v1/models", "/v1/usage"):
                await client.get(path, headers={"authorization": f"Bearer {text}"})
        async with dial(gateway) as wire:
            body = json.dumps({"model": "tts-1", "input": "hello"}).encode()
            assert (await wire.post("/v1/audio/speech", body, content_type="application/json")).status == 200
        await gateway.idle()
        async with Redis.from_url(store_url) as plain:
            dump = {key: await _value(plain, key) for key in await plain.keys("*")}
        files = {str(path): path.read_bytes() for path in data.rglob("*") if path.is_file()}
    everything = b"".join(key + value for key, value in dump.items()) + b"".join(files.values())
    assert made[3:13].encode() in everything, "the dump is real: ids are in it"
    for secret in [*(text[14:-6] for text in texts), "sk-secret-of-a", "operators-alone", "pepper of the tests"]:
        assert secret.encode() not in everything, secret
    print(f"S-15 {len(dump)} keys of the store, {len(files)} files, {len(everything)} bytes: 0 raw keys")


async def _value(store: Any, key: bytes) -> bytes:
    kind = (await store.type(key)).decode()
    read = {
        "string": lambda: store.get(key),
        "hash": lambda: store.hgetall(key),
        "set": lambda: store.smembers(key),
        "list": lambda: store.lrange(key, 0, -1),
        "zset": lambda: store.zrange(key, 0, -1, withscores=True),
        "stream": lambda: store.xrange(key),
    }[kind]
    found = await read()
    return found if isinstance(found, bytes) else repr(found).encode()
