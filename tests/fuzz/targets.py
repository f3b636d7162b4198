"""The targets by name. A module has `target(data)`, SEEDS, WORDS that mean something, and RUNS for the suite."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

CORPUS = Path(__file__).parent.parent / "corpus"


@dataclass(frozen=True, slots=True)
class Target:
    """`run` takes an input and raises where something is wrong; `runs`: how many inputs the suite gives it."""

    name: str
    run: Callable[[bytes], None]
    seeds: Sequence[bytes]
    words: Sequence[bytes]
    runs: int

    def fails(self, data: bytes) -> Exception | None:
        """What goes wrong with a random input."""
        try:
            self.run(data)
        except Exception as error:
            return error
        return None


def target_of(name: str) -> Target:
    """The target of this module."""
    module = import_module(f"tests.fuzz.{name}")
    return Target(name, module.target, module.SEEDS, module.WORDS, module.RUNS)


NAMES = ("form", "taps", "answers", "config", "keys", "door")
