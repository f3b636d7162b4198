"""The forms of a store URL that encrypt, with a server that takes nothing else from us."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import Refused
from gateway.metrics import Metrics
from gateway.store.checks import checked
from gateway.store.connection import Connection
from tests.servers import BINARIES, free_ports, listening, until_true

pytestmark = pytest.mark.skipif(
    "redis" not in BINARIES or not shutil.which("openssl"), reason="no redis-server that encrypts, or no openssl"
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A certificate of 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@pytest.mark.parametrize("form", ["rediss", "rediss+sentinel", "rediss+cluster"])
async def test_every_form_encrypts(form: str, certificate: tuple[Path, Path]) -> None:
    plain, encrypted, watching = free_ports(3)
    own, key = certificate
    tls = {"tls-cert-file": own, "tls-key-file": key, "tls-ca-cert-file": own, "tls-auth-clients": "no"}
    told: list[object] = ["--tls-port", encrypted, *(word for name, one in tls.items() for word in (f"--{name}", one))]
    if form == "rediss+cluster":
        told += ["--cluster-enabled", "yes", "--tls-cluster", "yes"]
    file = f"port {{port}}\nsentinel monitor ours 127.0.0.1 {encrypted} 1\ntls-port {watching}\ntls-replication yes\n"
    file += "".join(f"{name} {one}\n" for name, one in tls.items())
    with (
        listening("redis", *told, ports=(plain, free_ports(1)[0])) as server,
        listening("redis", "--sentinel", file=file),
    ):
        await server.answering()
        if form == "rediss+cluster":
            await server.ask("CLUSTER ADDSLOTSRANGE", 0, 16383)
        where = {"rediss+sentinel": f"{watching}/ours"}.get(form, str(encrypted))
        good = Connection(f"{form}://127.0.0.1:{where}?ssl_ca_certs={own}", Metrics(models=(), teams=()))
        await until_true(lambda: good.client.set("{ag}:x", "1"), seconds=10)
        assert await checked(good)
        assert {type(one).__name__ for one in good.client.connection_pool._available_connections} <= {
            "Tls",
            "FollowingTls",
        }
        await good.close()
        stranger = Connection(f"{form}://127.0.0.1:{where}", Metrics(models=(), teams=()))
        with pytest.raises(Refused):
            await checked(stranger)
        await stranger.close()
