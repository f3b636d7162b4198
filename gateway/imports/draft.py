"""What is to become a configuration of ours, and the account of how it came about.

Everything in a draft has been held against what the file may hold (`fits`), so that it can be written as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal

from gateway.config.scalars import Objection, Scalar
from gateway.errors import SetupError
from gateway.policy.pricing import Price

MOST_UPSTREAMS: Final = 1000
Outcome = Literal["taken", "changed", "to do", "left out"]
"""`changed` means something else than it did, or only nearly the same; `to do` needs the operator."""


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one setting: which one, where it went or why it did not."""

    outcome: Outcome
    what: str
    how: str


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit as the file writes it."""

    measure: str
    per: str
    amount: str


@dataclass(slots=True)
class UpstreamDraft:
    """An upstream to be. `key` is the name of a variable, "" for none; `base_url` may be a reference.

    `models` is from the callers' names to the names there, `prices` by the callers' names; `about` says where it was.
    """

    name: str
    kind: str
    base_url: str
    about: str
    key: str = ""
    models: dict[str, str] = field(default_factory=dict)
    priority: int = 1
    weight: int = 1
    allow_private: bool = False
    first_byte: str = ""
    limits: tuple[Limit, ...] = ()
    prices: dict[str, Price] = field(default_factory=dict)
    unpriced: set[str] = field(default_factory=set)


@dataclass(slots=True)
class TeamDraft:
    """A team to be; no `upstreams` means all."""

    name: str
    about: str = ""
    upstreams: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()


@dataclass(slots=True)
class KeyDraft:
    """A key to be; no `models`, no `ips`: any."""

    name: str
    team: str
    models: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    expires: str = ""
    ips: tuple[str, ...] = ()
    note: str = ""


@dataclass(slots=True)
class Draft:
    """A configuration to be. `secrets` are values by the variable that the file refers to; `wanted` are all variables
    it refers to, with what each of them is for.
    """

    product: str
    upstreams: list[UpstreamDraft] = field(default_factory=list)
    prices: dict[str, Price] = field(default_factory=dict)
    teams: list[TeamDraft] = field(default_factory=list)
    keys: list[KeyDraft] = field(default_factory=list)
    max_bytes: str = ""
    wanted: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    lines: list[Line] = field(default_factory=list)

    def add(self, upstream: UpstreamDraft) -> None:
        """Add an upstream. Raises SetupError where there are too many to be meant."""
        if len(self.upstreams) >= MOST_UPSTREAMS:
            raise SetupError(
                f"It would make more than {MOST_UPSTREAMS:,} upstreams; leave out of the source what is not for audio."
            )
        self.upstreams.append(upstream)

    def say(self, outcome: Outcome, what: str, how: str) -> None:
        """Add a line to the account."""
        self.lines.append(Line(outcome, shown(what), shown(how)))


def fits(scalar: Scalar, text: str) -> bool:
    """Whether the file may hold this text there."""
    try:
        scalar.read(text)
    except (Objection, ValueError, ArithmeticError):
        return False
    return True


def mapping(value: object) -> dict[str, object]:
    """A mapping, or an empty one in place of what is none."""
    return {str(name): one for name, one in value.items()} if isinstance(value, dict) else {}


def listing(value: object) -> Sequence[object]:
    """A list, or an empty one in place of what is none."""
    return value if isinstance(value, list) else ()


def text(value: object) -> str:
    """What a scalar says, without spaces around it; "" for nothing and for what is no scalar."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().strip()
    return f"{value}" if isinstance(value, int | float | Decimal) else ""


def number(value: object) -> Decimal | None:
    """A number that is finite and not absurd, else None."""
    try:
        found = Decimal(text(value))
    except ArithmeticError:
        return None
    return found if found.is_finite() and -30 < found.adjusted() < 30 else None


def true(value: object) -> bool:
    """Whether a switch is on."""
    return text(value).lower() in ("true", "yes", "on", "1")


def shown(words: str) -> str:
    """Words for the account: on one line, printable, not endless."""
    line = "".join(one if one.isprintable() else " " for one in words)
    return line if len(line) <= 600 else line[:599] + "…"


def plain(amount: Decimal) -> str:
    """A number as the file writes it, rounded down to 6 decimals."""
    return f"{amount.quantize(Decimal('0.000001'), rounding='ROUND_DOWN').normalize():f}"
