"""The rows: what is sent, how much of it at once, and who takes part."""

from dataclasses import dataclass

MB = 1_000_000
KIB = 1024
FORM = "/v1/audio/transcriptions"

EVERYBODY = ("audiogate", "nginx", "nginx-stock", "haproxy", "litellm", "portkey")
GATEWAYS = ("audiogate", "nginx", "litellm", "portkey")
OTHER_SETUPS = ("audiogate-redis", "audiogate-2")
TLS = ("audiogate", "nginx")


@dataclass(frozen=True)
class Sent:
    """One kind of request, as options for load. `up` are the bytes of its file, `down` those of its answer (0: some).

    `requests` bounds how many there are, 0 does not.
    """

    options: tuple[str, ...]
    connections: int
    up: int = 0
    down: int = 0
    requests: int = 0

    def words(self) -> list[object]:
        """The command line of load."""
        bound = ["--requests", self.requests] if self.requests else []
        return [*self.options, "--connections", self.connections, *bound]


def speech(connections: int, *, model: str = "tts-1", down: int = 4096, requests: int = 0) -> Sent:
    """About 200 bytes of JSON in, audio out."""
    return Sent(("--speech", model), connections, down=down, requests=requests)


def upload(connections: int, size: int, *more: str, requests: int = 0) -> Sent:
    """A form with a WAV of this size in, JSON out."""
    return Sent(("--path", FORM, "--form", str(size), *more), connections, up=size, requests=requests)


MEGABYTE = 64 * 16 * KIB
EVENTS = ("--model", "gpt-4o-transcribe-mock-events", "--field", "stream=true")
W1, W2, W3 = speech(64), upload(32, 256 * KIB), upload(8, 25 * MB)
W4 = speech(64, model="tts-1-mock-megabyte", down=MEGABYTE)
MIX = (
    speech(16, requests=400),
    upload(8, 256 * KIB, requests=100),
    upload(4, 25 * MB, requests=4),
    speech(8, model="tts-1-mock-megabyte", down=MEGABYTE, requests=40),
    upload(8, 64 * KIB, *EVENTS, requests=40),
)


@dataclass(frozen=True)
class Row:
    """A row of the table. Several kinds of requests in `sent` run at once, in batches.

    `unit` is what `per_second` counts; `tls`: the upstream speaks TLS; `keys` is how many callers there are. `pace`:
    first bytes count, less what they take without anybody between.
    """

    name: str
    title: str
    sent: tuple[Sent, ...]
    against: tuple[str, ...]
    unit: str = "requests/s"
    tls: bool = False
    keys: int = 10
    pace: bool = False


def paced(connections: int) -> tuple[Sent, ...]:
    """Streams of 64 chunks, one every 10 ms: some rounds of them each."""
    return (speech(connections, model="tts-1-mock-paced", down=MEGABYTE),)


ROWS = {
    row.name: row
    for row in (
        Row("W1", "speech, 200 B in, 4 KB out, 64 in flight", (W1,), EVERYBODY + OTHER_SETUPS),
        Row("W2", "upload, 256 KB, 32 in flight", (W2,), EVERYBODY + OTHER_SETUPS),
        Row("W3", "upload, 25 MB, 8 in flight", (W3,), EVERYBODY + OTHER_SETUPS, unit="MB/s"),
        Row("W4", "speech stream, 1 MB in 64 chunks at once, 64 in flight", (W4,), EVERYBODY + OTHER_SETUPS),
        Row("paced-1", "the same, a chunk every 10 ms, alone", paced(1), (*GATEWAYS, "direct"), pace=True),
        Row("paced-64", "the same, 64 at once", paced(64), (*GATEWAYS, "direct"), pace=True),
        Row("file-first", "upload, 256 KB, the file before the fields, 32 in flight",
            (upload(32, 256 * KIB, "--file-first"),), GATEWAYS),
        Row("events", "upload, 64 KB, a transcript as events out, 32 in flight",
            (upload(32, 64 * KIB, *EVENTS),), GATEWAYS),
        Row("mix", "all of these at once: 400 of W1, 100 of W2, 4 of W3, 40 of W4, 40 with events", MIX,
            GATEWAYS, unit="batches/s"),
        Row("tls-W1", "W1 over HTTPS to the upstream", (W1,), TLS, tls=True),
        Row("tls-W2", "W2 over HTTPS to the upstream", (W2,), TLS, tls=True),
        Row("keys-10", "W1 with 10 keys", (W1,), ("audiogate",)),
        Row("keys-10000", "W1 with 10,000 keys", (W1,), ("audiogate",), keys=10_000),
        Row("flight-1", "W1, 1 in flight", (speech(1),), TLS),
        Row("flight-1000", "W1, 1,000 in flight", (speech(1000),), TLS),
    )
}  # fmt: skip


def takes_part(who: str, usual: tuple[str, ...], wanted: frozenset[str]) -> bool:
    """Whether somebody is in a row: of the other ways to run audiogate those that were asked for are in each."""
    return who in usual or (who in wanted and who.startswith("audiogate-"))


# Rows that begin with a fresh process each, see special.py.
SPECIAL = {
    "memory": "64 uploads of 25 MB at once",
    "slow": "32 uploads of 25 MB into an upstream that takes 6.5 MB/s of each",
    "start": "from the command to the first answer",
}
GROUPS = {"paced": ("paced-1", "paced-64"), "tls": ("tls-W1", "tls-W2"), "keys": ("keys-10", "keys-10000"),
          "flight": ("flight-1", "flight-1000")}  # fmt: skip
