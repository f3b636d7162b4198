"""The upstreams: each is asked, with our key, for its list of models, which costs nothing."""

import asyncio

from gateway.checkup import Checked, check
from gateway.doctor.finding import Finding, Scene, Verdict


def answers(scene: Scene) -> list[Finding]:
    """What `checkup.py` says of each, all of them at once."""

    async def ask() -> list[Checked]:
        return await asyncio.gather(*(check(one, clock=scene.clock) for one in scene.known.market.upstreams))

    names = [one.name for one in scene.known.market.upstreams]
    return [_finding(name, found) for name, found in zip(names, asyncio.run(ask()), strict=True)]


def _finding(name: str, found: Checked) -> Finding:
    verdict: Verdict = "problem" if not found.ok else "warning" if found.verdict in ("clock", "models") else "ok"
    words = found.message or f"It takes our key, and answered in {found.ms or 0:.0f} ms."
    return Finding(verdict, f"{name}: {words}")
