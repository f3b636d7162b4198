"""The two other gateways, installed into folders of their own, each in the version that the figures name; versions."""

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.programs import HERE, TOOLS, Unfit

PEERS = HERE / ".peers"
LITELLM, PORTKEY = "1.106.2", "1.15.2"
HONO = "1.14.1"  # from the next one on Portkey answers speech with 500, "TypeError: immutable"
LOOPBACK = TOOLS / "loopback.cjs"
INSTALL_SECONDS = 900


def litellm() -> Path:
    """LiteLLM's command, installed if it was not before. Raises Unfit."""
    folder = PEERS / "litellm"
    command = folder / "bin" / "litellm"
    if not _has(folder, LITELLM):
        _run("LiteLLM", sys.executable, "-m", "venv", "--clear", folder)
        _run("LiteLLM", folder / "bin" / "pip", "install", "-q", f"litellm[proxy]=={LITELLM}")
        (folder / "installed").write_text(LITELLM)
    return command


def portkey() -> Path:
    """The script of Portkey's gateway, installed if it was not before. Raises Unfit."""
    folder = PEERS / "portkey"
    npm = shutil.which("npm")
    if npm is None:
        raise Unfit("Portkey needs Node and npm")
    if not _has(folder, PORTKEY):
        folder.mkdir(parents=True, exist_ok=True)
        wanted = {"dependencies": {"@portkey-ai/gateway": PORTKEY}, "overrides": {"@hono/node-server": HONO}}
        (folder / "package.json").write_text(json.dumps(wanted))
        _run("Portkey", npm, "install", "--prefix", folder, "--no-audit", "--no-fund", "--silent", "--legacy-peer-deps")
        (folder / "installed").write_text(PORTKEY)
    return folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


def _has(folder: Path, wanted: str) -> bool:
    mark = folder / "installed"
    return mark.exists() and mark.read_text() == wanted


def _run(who: str, *command: object) -> None:
    try:
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unfit(f"{who} could not be installed: {error}") from error
    if done.returncode:
        raise Unfit(f"{who} could not be installed: {done.stderr.strip()[-300:]}")


def said_version(name: str, *flags: str) -> str:
    """The first version number in what a program says of itself; "" if it is not here."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        return ""
    done = subprocess.run([path, *flags], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+(\.\d+)*", done.stdout + done.stderr)
    return found[0] if found else ""


def our_version() -> str:
    """This gateway's, with the commit where there is one."""
    git = shutil.which("git")
    if git is None:
        return version("audiogate")
    done = subprocess.run(
        [git, "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False
    )
    return f"{version('audiogate')} ({done.stdout.strip()})" if done.stdout.strip() else version("audiogate")


def litellm_version() -> str:
    """LiteLLM's, and what runs it."""
    return f"{LITELLM}, Python {sys.version.split()[0]}"


def portkey_version() -> str:
    """Portkey's, and what runs it."""
    return f"{PORTKEY}, Node {said_version('node', '--version')}"
