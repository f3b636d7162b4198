"""Bodies that are wrong, sent to a real gateway in every way there is; and what must be left of them: nothing."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.config.model import Uploads
from gateway.spool import HELD
from tests.running import Running, serving, until
from tests.stub import Answer, Seen, Stub
from tests.wire import FORM, Said, Wire, dial, framed

TARGET = "/v1/audio/transcriptions"
SPEECH = "/v1/audio/speech"
ORDERS = ("model first", "file first")
PACES = ("fast client", "slow client")


def sha(data: bytes) -> str:
    """What tells bodies apart."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Bench:
    """A gateway, its one upstream, and the folder where its uploads would be."""

    gateway: Running
    upstream: Stub
    folder: Path
    uploads: Uploads
    _billed: int = field(default=0)

    async def post(
        self, body: bytes, *headers: str, kind: str = FORM, target: str = TARGET, framing: str = "length"
    ) -> Said:
        """Send a body on a connection of its own, and read the answer even if it comes before all was sent."""
        header, sent = framed(body, framing)

        async def once() -> Said:
            async with dial(self.gateway) as wire:
                await wire.begin("POST", target, *([f"Content-Type: {kind}"] if kind else []), header, *headers)
                return await answered(wire, [sent])

        return await insisting(once)

    async def served(self, body: bytes, **more: Any) -> Seen:
        """What the upstream saw of a body that is good. Its record is awaited."""
        before = len(self.upstream.seen)
        said = await self.post(body, **more)
        assert said.status == 200, (said.status, bytes(said.body))
        self._billed += 1
        await self.gateway.records(self._billed)
        (seen,) = self.upstream.seen[before:]
        assert seen.whole
        return seen

    async def refused(
        self, body: bytes, *, status: int | Sequence[int] = 400, code: str | None = "", param: str = "", **more: Any
    ) -> dict[str, Any]:
        """The error of a body that is bad, in OpenAI's shape; no upstream saw it come to an end."""
        before = len(self.upstream.seen)
        said = await self.post(body, **more)
        self.judged(said, status=status, code=code, param=param)
        await self.cut_short(before)
        return said.error

    def judged(self, said: Said, *, status: int | Sequence[int] = 400, code: str | None = "", param: str = "") -> None:
        """The answer is such an error."""
        allowed = [status] if isinstance(status, int) else status
        assert said.status in allowed, (said.status, bytes(said.body))
        assert said.headers["content-type"] == "application/json"
        assert set(said.json) == {"error"}
        assert set(said.error) == {"message", "type", "param", "code"}
        assert said.error["message"]
        if code != "":
            assert said.error["code"] == code, said.error
        if param:
            assert said.error["param"] == param, said.error

    async def cut_short(self, before: int) -> None:
        """Whatever an upstream saw since then broke off."""
        for seen in self.upstream.seen[before:]:
            async with asyncio.timeout(10):
                await seen.closed.wait()
            assert not seen.whole, "a body that was refused came to a proper end"

    async def clean(self, *, contacted: bool | None = None) -> None:
        """Nothing is held, billed or kept, but for what was `served`."""
        await self.gateway.idle()
        spools = self.gateway.app.parts.spools

        async def kept() -> tuple[int, int]:
            return spools._left - self.uploads.total_bytes, spools.room - HELD

        await until(kept, lambda found: found == (0, 0))
        spools.files.tidy()
        assert files_in(self.folder) == []
        rows = await self.gateway._records()
        charged = [row for row in rows if row["cost_micro_usd"] != "0" or row["audio_ms"] != "0"]
        assert len(charged) == self._billed, rows
        assert int(await self.gateway.app.connection.client.exists("{ag}:held", "{ag}:leases")) == 0
        if contacted is not None:
            assert (len(self.upstream.seen) > self._billed) is contacted


async def insisting(ask: Callable[[], Awaitable[Said]]) -> Said:
    """Ask until it is not the machine that is too busy, which is no answer to what was asked."""
    while (said := await ask()).status == 503 and said.error["code"] == "overloaded":
        await asyncio.sleep(0.05)
    return said


async def answered(wire: Wire, pieces: Iterable[bytes]) -> Said:
    """Send the pieces, read the answer; who answers early may close while the rest is on its way."""
    reading = asyncio.ensure_future(wire.answer())
    try:
        for piece in pieces:
            if reading.done():
                break
            await wire.send(piece)
    except ConnectionError:
        pass
    return await reading


def files_in(folder: Path) -> list[str]:
    """Names in it, and files without a name in it that are open here."""
    found = [str(path) for path in folder.iterdir()]
    for one in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{one}")
        except FileNotFoundError:
            continue
        found += [name] if name.startswith(f"{folder}/") else []
    return found


@asynccontextmanager
async def bench(store_url: str, data: Path, *answers: Answer, **more: Any) -> AsyncIterator[Bench]:
    """A gateway whose larger uploads go to files at once."""
    folder = data / "uploads"
    folder.mkdir()
    uploads = Uploads(folder=folder, memory_bytes=2_000)
    async with serving(store_url, data, *answers, uploads=uploads, **more) as (gateway, one):
        yield Bench(gateway, one, folder, uploads)
        assert files_in(folder) == []


def ordered(order: str, model: bytes, sound: bytes, *rest: bytes) -> bytes:
    """Parts in one of the `ORDERS`, without an end."""
    return b"".join([model, sound, *rest] if order == "model first" else [sound, model, *rest])


def headers_of(seen: Seen) -> Mapping[str, tuple[str | None, str]]:
    """Filename and content type of each part that the upstream saw, by name."""
    return {
        str(part.get_param("name", header="content-disposition")): (part.get_filename(), part.get_content_type())
        for part in seen.parts
    }
