"""Every room that decides is covered to the last branch by its own test file. Run after the suite, by `make test`.

A room that is only covered by tests of something else keeps its bugs: what it decides has to be told by a test that
names it. Its test file is found by name: `gateway/policy/limits.py` is tested by `tests/policy/test_*limits.py`.
"""

import io
import sys
from pathlib import Path

import coverage

ROOT = Path(__file__).parent.parent
PURE = ("policy", "upstreams", "audio")


def rooms() -> list[Path]:
    """The files that decide."""
    found = [path for folder in PURE for path in (ROOT / "gateway" / folder).glob("*.py") if path.stem != "__init__"]
    return sorted([*found, ROOT / "gateway" / "errors" / "__init__.py"])


def covered(report: coverage.Coverage, room: Path) -> tuple[float, str]:
    """Per cent of a room that its own test file covers, branches counted, and the report with what is missing."""
    folder = ROOT / "tests" / (room.parent.name if room.parent.name in PURE else "")
    name = room.parent.name if room.stem == "__init__" else room.stem
    own = sorted(path.relative_to(ROOT) for path in folder.glob(f"test_*{name}.py"))
    if not own:
        return 0.0, f"{room.relative_to(ROOT)} has no test file of its own"
    text = io.StringIO()
    contexts = ["^$", *(f"^{path.as_posix()}::" for path in own)]  # the empty one is what importing runs
    return report.report(morfs=[str(room)], contexts=contexts, file=text, show_missing=True), text.getvalue()


def main() -> int:
    """Print what falls short; 0 if nothing does."""
    report = coverage.Coverage(config_file=str(ROOT / "pyproject.toml"))
    report.load()
    short = [(room, *covered(report, room)) for room in rooms()]
    for room, percent, text in short:
        if percent < 100:
            print(f"{room.relative_to(ROOT)}: {percent:.1f} % by its own tests\n{text}")
    bad = sum(percent < 100 for _, percent, _ in short)
    print(f"{len(short) - bad} of {len(short)} rooms that decide are covered by their own tests.")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
