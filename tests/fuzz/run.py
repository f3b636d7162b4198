"""Fuzzing for as long as you like: `make fuzz`, or `python -m tests.fuzz.run --seconds 60 form door`.

Each target runs in a process of its own, as many at once as there are cores, and stops at its first finding. What
reaches new code is kept in .fuzz/ and is where the next run begins. Without atheris the inputs are random.
"""

import argparse
import logging
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from tests.fuzz.mutate import LONGEST, mutants
from tests.fuzz.targets import CORPUS, NAMES, Target, target_of

ROOT = CORPUS.parent.parent
KEPT = ROOT / ".fuzz"
HANG = 30  # seconds for one input


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a target did: `told` is empty if nothing was found."""

    name: str
    runs: int
    seconds: float
    told: str


def outcome(name: str, seconds: float) -> Outcome:
    """Fuzz one target in a process of its own."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", "--child", "--seconds", str(seconds), name],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    said = done.stderr.decode(errors="replace") + done.stdout.decode(errors="replace")
    found = re.findall(r"number_of_executed_units: (\d+)", said)
    return Outcome(
        name, int(found[-1]) if found else 0, time.monotonic() - began, said[-6_000:] if done.returncode else ""
    )


def tried(target: Target) -> Callable[[bytes], None]:
    """Raises what goes wrong with an input."""

    def attempt(data: bytes) -> None:
        if (error := target.fails(data)) is not None:
            raise error

    return attempt


def guided(name: str, seconds: float) -> None:
    """Fuzz a target with atheris, in this process. Never returns."""
    import atheris

    with atheris.instrument_imports(include=["gateway", "python_multipart", "yaml", "uvicorn"]):
        import_module(f"tests.fuzz.{name}")
    target = target_of(name)
    folder = KEPT / name
    for inner in ("found", "new", "seeds"):
        (folder / inner).mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (folder / "seeds" / str(number)).write_bytes(seed)
    words = folder / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    options = {
        "max_total_time": int(seconds),
        "max_len": LONGEST,
        "dict": words,
        "timeout": HANG,
        "print_final_stats": 1,
    }
    options |= {"artifact_prefix": f"{folder / 'found'}/", "verbosity": 1}
    folders = [folder / "new", folder / "seeds", *([CORPUS / name] if (CORPUS / name).exists() else [])]
    arguments = [*(f"-{key}={value}" for key, value in options.items()), *map(str, folders)]
    atheris.Setup([sys.argv[0], *arguments], tried(target))
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def unguided(name: str, seconds: float) -> None:
    """Fuzz a target with random inputs, in this process. Raises what the target raises."""
    target, runs, until = target_of(name), 0, time.monotonic() + seconds
    for data in mutants(target.seeds, target.words, random.Random()):
        try:
            tried(target)(data)
        except Exception:
            print(f"input: {data!r}")
            raise
        runs += 1
        if time.monotonic() > until:
            break
    print(f"number_of_executed_units: {runs}")


def main() -> int:
    """Run what is asked for; how many targets found something."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", default=NAMES)
    options.add_argument("--seconds", type=float, default=300.0)
    options.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = options.parse_args()
    has_atheris = find_spec("atheris") is not None
    if asked.child:
        logging.basicConfig(level=logging.CRITICAL)
        (guided if has_atheris else unguided)(asked.names[0], asked.seconds)
        return 0
    how = "guided by coverage" if has_atheris else "random: no atheris is installed"
    print(f"{asked.seconds:.0f} s for each of {', '.join(asked.names)}; {how}", flush=True)
    bad = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for one in pool.map(lambda name: outcome(name, asked.seconds), asked.names):
            print(
                f"{one.name:8} {one.runs:>9,} inputs in {one.seconds:.0f} s, {'FOUND' if one.told else '0 findings'}",
                flush=True,
            )
            bad += bool(one.told)
            if one.told:
                print(f"{one.told}\nits input: {KEPT / one.name / 'found'}", flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(main())
