"""Compare the gateway side by side with nginx, HAProxy, LiteLLM and Portkey.

`make bench` runs everything; benchmarks/README.md tells the rest.
"""

import argparse
import random
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import machine
from benchmarks.contestants import CONTESTANTS
from benchmarks.figures import figures
from benchmarks.programs import BUILD, Unfit, build
from benchmarks.report import put, report
from benchmarks.results import Results, read
from benchmarks.rounds import Plan, block
from benchmarks.special import SPECIALS
from benchmarks.stage import Stage
from benchmarks.workloads import GROUPS, ROWS, SPECIAL

RESULTS = BUILD / "results"
HOLD_SECONDS = 3600


def measure(asked: argparse.Namespace) -> Path:
    """Run what is asked for; gives the file of results. Ctrl-C ends it early, with what there is."""
    against = _against(asked)
    facts = {"rounds": asked.rounds, "seconds": asked.seconds, "seed": asked.seed, **machine.facts(against)}
    results = Results(RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.jsonl", facts)
    plan = Plan(asked.rounds, asked.seconds, random.Random(asked.seed), tuple(against), _wanted(asked))
    with Stage(asked.base) as stage, suppress(KeyboardInterrupt):
        for names in _blocks(asked.only):
            if names[0] in SPECIALS:
                SPECIALS[names[0]](stage, plan, results.tell)
            else:
                block(stage, names, plan, results.tell)
    for who, why in stage.unfit.items():
        results.unfit(who, why)
    return results.path


def _against(asked: argparse.Namespace) -> list[str]:
    wanted = {"audiogate", "direct", *(asked.against or set(CONTESTANTS) - {"audiogate-base"}), *_wanted(asked)}
    return [name for name in CONTESTANTS if name in wanted]


def _wanted(asked: argparse.Namespace) -> frozenset[str]:
    return frozenset(asked.against) | ({"audiogate-base"} if asked.base else frozenset())


def _blocks(only: Sequence[str]) -> list[list[str]]:
    """The rows that run in turn with each other, in the order of the table."""
    wanted = [row for name in (only or (*ROWS, *SPECIAL)) for row in GROUPS.get(name, (name,))]
    groups = {row: name for name, rows in GROUPS.items() for row in rows}
    found: dict[str, list[str]] = {}
    for row in dict.fromkeys(wanted):
        found.setdefault(groups.get(row, row), []).append(row)
    return list(found.values())


def hold(asked: argparse.Namespace) -> None:
    """Keep a contestant running, with its upstream, and tell how to load it, until Ctrl-C, an hour at most."""
    with Stage(asked.base) as stage, suppress(KeyboardInterrupt):
        served = stage.get(asked.hold, keys=asked.keys, tls=asked.tls)
        if served is None:
            raise Unfit(stage.unfit.get(asked.hold, "--base FOLDER is needed"))
        words = " ".join(f"'{word}'" if " " in word else word for word in served.options)
        print(f"{asked.hold} is process {served.pid}, its stores {list(served.stores)}")
        print(f"taskset -c {stage.aside} {build('load')} --port {served.port} {words} \\")
        for name in ("W1", "W2", "W3", "W4"):
            options = " ".join(str(word) for word in ROWS[name].sent[0].words())
            print(f"    {options} --seconds 5    # {name}")
        print(f"curl http://127.0.0.1:{stage.upstream}/stats", flush=True)
        time.sleep(HOLD_SECONDS)


def _names(choices: Sequence[str]) -> "argparse._ActionType":
    def read_names(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        for name in names:
            if name not in choices:
                raise argparse.ArgumentTypeError(f"there is no {name!r}; choose from {', '.join(choices)}")
        return names

    return read_names


def arguments() -> argparse.Namespace:
    """What is asked for on the command line."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--only", type=_names([*ROWS, *SPECIAL, *GROUPS]), default=[], help="rows, such as W1,W2,memory")
    asked.add_argument(
        "--against", type=_names([*CONTESTANTS]), default=[], help="such as nginx,litellm; all if not given"
    )
    asked.add_argument("--rounds", type=int, default=3, help="how often each row is run with each contestant (3)")
    asked.add_argument("--seconds", type=float, default=3.0, help="how long each time (3)")
    asked.add_argument("--seed", type=int, default=1, help="of the order that is drawn for each round (1)")
    asked.add_argument(
        "--base", type=Path, help="another checkout of the gateway, to be compared with as audiogate-base"
    )
    asked.add_argument(
        "--write", type=Path, metavar="FILE", help="put the tables into this document, between its marks"
    )
    asked.add_argument("--results", type=Path, nargs="+", metavar="FILE", help="run nothing, report on these files")
    asked.add_argument("--hold", choices=CONTESTANTS, help="start one contestant to look at, no more")
    asked.add_argument("--keys", type=int, default=10, help="with --hold: how many keys there are (10)")
    asked.add_argument("--tls", action="store_true", help="with --hold: the upstream speaks TLS")
    found = asked.parse_args()
    found.base = found.base and found.base.resolve()
    return found


def main() -> None:
    """Do what is asked for."""
    asked = arguments()
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # in the background, too, where a shell has SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    if asked.hold:
        hold(asked)
        return
    paths = asked.results or [measure(asked)]
    facts, samples, unfit = read(paths)
    text = report(facts, figures(samples), unfit)
    print(f"\n{text}\nResults: {' '.join(map(str, paths))}")
    if asked.write:
        asked.write.write_text(put(asked.write.read_text(), text))


if __name__ == "__main__":
    try:
        main()
    except Unfit as why:
        sys.exit(f"{why}")
