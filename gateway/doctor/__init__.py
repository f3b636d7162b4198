"""Why does it not work? The likely reasons, looked at one by one; nothing is changed and nothing costs anything.

A check is a row of CHECKS; what they find is in the words of `finding.py`. `settings.py` looks at the file and the
environment, `machine.py` at the software, the folders and the limits of this machine, `backing.py` at the store,
`upstreams.py` asks the upstreams, and `listening.py` whoever has the port.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gateway.doctor import backing, listening, machine, settings, upstreams
from gateway.doctor.finding import Finding, Scene, problem

__all__ = ("CHECKS", "Finding", "Scene", "examined")


@dataclass(frozen=True, slots=True)
class Check:
    """What is looked at, by its name. `configured`: it can only be looked at where the file can be read."""

    name: str
    look: Callable[[Scene], Sequence[Finding]]
    configured: bool = True


CHECKS = (
    Check("software", machine.software, configured=False),
    Check("configuration", settings.configuration, configured=False),
    Check("variables", settings.variables, configured=False),
    Check("this terminal", settings.terminal, configured=False),
    Check("who may come in", settings.exposure),
    Check("open files", machine.open_files),
    Check("data folder", machine.data_folder),
    Check("uploads", machine.uploads),
    Check("store", backing.store),
    Check("upstreams", upstreams.answers),
    Check("port", listening.port),
)


def examined(scene: Scene) -> Iterator[tuple[str, Finding]]:
    """What each check finds, by its name, as soon as it is found. A check that fails itself is a problem."""
    for check in CHECKS:
        if check.configured and scene.config is None:
            continue
        try:
            found = check.look(scene)
        except Exception as error:  # what is wrong here may be stranger than any check knows
            found = [problem(f"This could not be looked at ({type(error).__name__}: {error}).")]
        yield from ((check.name, one) for one in found)
