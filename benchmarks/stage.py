"""The stage: the upstream, its TLS endpoint, and the contestants that run on it until it is closed."""

import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType

from benchmarks import configs
from benchmarks.contestants import CONTESTANTS
from benchmarks.programs import Unfit, cores, free_port, mock, running
from benchmarks.setting import Served, Setting, tool, user


class Stage(AbstractContextManager["Stage"]):
    """Starts what is asked for, once; ends all of it. This process itself moves out of the way of what is measured."""

    def __init__(self, base: Path | None = None) -> None:
        self.servers, self.aside = cores()
        self.unfit: dict[str, str] = {}
        self._absent: set[str] = set()
        self._base = base
        self._stack = ExitStack()
        self._running: dict[tuple[str, bool, int], Served | None] = {}
        self._tls: tuple[str, Path] | None = None
        self._rooms = 0

    def __enter__(self) -> "Stage":
        """Make the rooms, start the upstream."""
        os.sched_setaffinity(0, [self.aside])
        self._folder = Path(tempfile.mkdtemp(prefix="agb"))
        self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        self.upstream = self._stack.enter_context(mock(self._folder, self.aside))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything."""
        self._stack.close()
        os.sched_setaffinity(0, [*self.servers, self.aside])

    def get(self, name: str, *, tls: bool = False, keys: int = 10) -> Served | None:
        """A contestant that goes on running; None, and a sentence in `unfit`, where it cannot."""
        which = (name, tls, keys)
        if which not in self._running:
            self._running[which] = self._try(self._stack, name, tls=tls, keys=keys)
        return self._running[which]

    def fresh(self, stack: ExitStack, name: str) -> Served | None:
        """One of its own, that ends with the stack."""
        return self._try(stack, name)

    def taken(self) -> dict[str, int]:
        """What the upstream has counted so far."""
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://127.0.0.1:{self.upstream}/stats", timeout=10
        ) as answer:
            return dict(json.load(answer))

    def _try(self, stack: ExitStack, name: str, *, tls: bool = False, keys: int = 10) -> Served | None:
        if name in self._absent:
            return None
        try:
            return stack.enter_context(CONTESTANTS[name].start(self._setting(name, tls=tls, keys=keys)))
        except (Unfit, OSError) as why:
            if keys == 10 and not tls:
                self._absent.add(name)
            self.unfit.setdefault(name, str(why))
            return None

    def _setting(self, name: str, *, tls: bool, keys: int) -> Setting:
        upstream, ca = self._secured() if tls else (f"http://127.0.0.1:{self.upstream}", None)
        room = self._room(name)
        return Setting(room, self.servers, self.aside, upstream, ca=ca, keys=keys, base=self._base)

    def _room(self, name: str) -> Path:
        self._rooms += 1
        room = self._folder / f"{self._rooms}-{name}"
        room.mkdir()
        return room

    def _secured(self) -> tuple[str, Path]:
        """nginx in front of the upstream, aside, with a certificate of our own: its origin and who signed it."""
        if self._tls is None:
            room, port = self._room("tls"), free_port()
            certify(room)
            told = configs.nginx_tls(
                room,
                port,
                f"http://127.0.0.1:{self.upstream}",
                user=user(),
                certificate=room / "server.pem",
                key=room / "server.key",
            )
            (room / "nginx.conf").write_text(told)
            command = [tool("nginx"), "-p", room, "-c", room / "nginx.conf"]
            self._stack.enter_context(running(command, on=[self.aside], room=room, name="tls")).answers_on(port)
            self._tls = f"https://127.0.0.1:{port}", room / "ca.pem"
        return self._tls


def certify(room: Path) -> None:
    """Make ca.pem, and server.pem with server.key that it signed for 127.0.0.1 and localhost. Raises Unfit."""
    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    ca = [
        "-subj",
        "/CN=benchmark CA",
        "-addext",
        "keyUsage=critical,keyCertSign",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
    ]
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    server = ["-CA", "ca.pem", "-CAkey", "ca.key", "-subj", "/CN=localhost", "-addext", names]
    server += ["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "server.key", "-out", "server.pem"]
    for more in (ca, server):
        done = subprocess.run([tool("openssl"), *new, *more], cwd=room, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unfit(f"openssl: {done.stderr.strip()[-300:]}")
