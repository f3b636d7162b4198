"""An authority and the certificates that it signs, made with openssl."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
CONFIG = """
[ca]
default_ca = ours
[ours]
new_certs_dir = {folder}
database = {folder}/index
serial = {folder}/serial
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
"""


class Authority:
    """Signs certificates; `certificate` is its own."""

    def __init__(self, folder: Path) -> None:
        if not shutil.which("openssl"):
            pytest.skip("no openssl on this machine")
        self.certificate = folder / "authority.pem"
        self._folder, self._key = folder, folder / "authority.key"
        (folder / "openssl.conf").write_text(CONFIG.format(folder=folder))
        (folder / "index").touch()
        (folder / "serial").write_text("1000")
        self._openssl(
            *("req", "-x509", *EC, "-days", "2", "-subj", "/CN=The tests' authority"),
            *("-addext", "keyUsage=critical,keyCertSign", "-keyout", str(self._key), "-out", str(self.certificate)),
        )

    def server(self, name: str = "IP:127.0.0.1", *, ends: str = "491231235959Z", own: bool = False) -> ssl.SSLContext:
        """A server's context. The certificate is for `name`, valid until `ends`; `own`: signed by itself."""
        base = f"{name}-{ends}-{own}".replace(":", "-")
        key, request, certificate = (self._folder / f"{base}.{kind}" for kind in ("key", "csr", "pem"))
        if not certificate.exists():
            asked = ["req", *EC, "-subj", "/CN=upstream", "-addext", f"subjectAltName={name}", "-keyout", str(key)]
            if own:
                self._openssl(*asked, "-x509", "-days", "2", "-out", str(certificate))
            else:
                self._openssl(*asked, "-new", "-out", str(request))
                self._openssl(
                    *("ca", "-batch", "-notext", "-config", str(self._folder / "openssl.conf"), "-in", str(request)),
                    *("-cert", str(self.certificate), "-keyfile", str(self._key), "-out", str(certificate)),
                    *("-startdate", "200101000000Z", "-enddate", ends),
                )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context

    def _openssl(self, *command: str) -> None:
        subprocess.run(["openssl", *command], check=True, capture_output=True)
