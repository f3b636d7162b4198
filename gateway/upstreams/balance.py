"""What is left of our money at an upstream: what to ask, in which order, and what the answers mean. Pure.

A balance is a hint for the choice between upstreams; what counts is how the upstream answers a request. Sources: the
billing, token and status controllers of one-api and new-api. Their USD fields are in the unit that the site shows.
"""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NoReturn, TypeAlias

from gateway.upstreams import newapi
from gateway.upstreams.base import Upstream, Verdict
from gateway.upstreams.judging import judge

PER_USD = Decimal(500_000)  # their unit of account, unless a site says otherwise
UNLIMITED = Decimal(100_000_000)  # told for a key without a limit, whatever the unit
MOST = Decimal(10) ** 18  # beyond it no number makes sense, in any unit
MICRO = Decimal("0.000001")
DRY_AT = Decimal(0)  # US dollars
SOONEST = 60.0  # seconds between two looks at a wallet; their own limit is 20 in 20 minutes from one address
USUAL, HOPELESS, JITTER = 120.0, 600.0, 15.0
KEPT = 3600.0  # seconds for which the last known balance is gone by


@dataclass(frozen=True, slots=True)
class Ask:
    """A GET to be sent, with the upstream's key or without."""

    url: str
    keyed: bool = True


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; status 0: nothing did."""

    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Balance:
    """What is left, in US dollars. None: `unlimited` (the key is, its account may not be), or not known and `why`.

    `source` is what told it: `token` (the key's own page), `billing`, or nothing. `dry`: nothing can be had there now.
    """

    usd: Decimal | None = None
    unlimited: bool = False
    source: str = ""
    dry: bool = False
    why: str = ""

    @property
    def known(self) -> bool:
        """Whether the upstream has told anything of use."""
        return self.usd is not None or self.unlimited


Asking: TypeAlias = Generator[Ask, Reply, Balance]
SILENT = Balance(why="it does not answer")
OFTEN = Balance(why="it was asked too often")
REFUSED = Balance(why="it refuses our key")
UNTOLD = Balance(why="it does not tell")
NONSENSE = Balance(why="what it tells makes no sense")
USED_UP = Balance(Decimal(0), source="billing", dry=True)


def asking(upstream: Upstream, *, dry_at: Decimal = DRY_AT) -> Asking:
    """Ask an upstream, one request after the other: gives each, takes its reply, returns what they mean together.

    At or below `dry_at` US dollars a wallet is dry. A key without a limit may still show its account's wallet on the
    billing pages.
    """
    root = upstream.base_url.removesuffix("/v1")
    reply = yield Ask(root + "/api/usage/token/")  # without the last slash it redirects
    if reply.status in (0, 429):
        return OFTEN if reply.status else SILENT
    told = _told(reply).get("data")
    token = told if isinstance(told, dict) else {}
    unlimited = token.get("unlimited_quota") is True
    left = _amount(token.get("total_available"))
    if unlimited or left is None:
        found = yield from _billing(upstream.base_url, root, dry_at)
        return found if found.known or not unlimited else Balance(unlimited=True, source="token")
    return _balance(left, _per_usd((yield Ask(root + "/api/status", keyed=False))), source="token", dry_at=dry_at)


def keep(last: Balance | None, found: Balance, *, age: float) -> Balance:
    """What to go by: what was found, or where that is nothing, the last known balance of `age` seconds ago."""
    return last if last is not None and last.known and not found.known and age <= KEPT else found


def rest(gone_by: Balance, *, draw: float) -> float:
    """Seconds, beyond SOONEST, until the next look. A dry wallet may be filled any time. `draw` is in [0, 1)."""
    pace = SOONEST if gone_by.dry else USUAL if gone_by.known else HOPELESS
    return pace - SOONEST + JITTER * draw


def _billing(base: str, root: str, dry_at: Decimal) -> Asking:
    reply = yield Ask(base + "/dashboard/billing/subscription")
    if reply.status == 401:  # these pages are shut to a key that is used up
        dry = judge(newapi.KIND, status=401, body=reply.body).verdict is Verdict.EXHAUSTED
        return USED_UP if dry else REFUSED
    told = _told(reply)
    limit = _amount(told.get("hard_limit_usd"))
    if limit is None:
        return NONSENSE if "hard_limit_usd" in told else UNTOLD
    if limit == UNLIMITED:
        return Balance(unlimited=True, source="billing")
    told = _told((yield Ask(base + "/dashboard/billing/usage")))  # it takes dates, and ignores them
    cents = _amount(told.get("total_usage"))
    if cents is None:
        return NONSENSE if "total_usage" in told else UNTOLD
    shown = _shown_per_usd((yield Ask(root + "/api/status", keyed=False)))
    return _balance(limit - cents / 100, shown, source="billing", dry_at=dry_at)


def _balance(amount: Decimal, per_usd: Decimal | None, *, source: str, dry_at: Decimal) -> Balance:
    """Below zero may be an overdraft, a sign for "no limit", or what an old one-api leaves to subtract: not known."""
    if per_usd is None or amount / per_usd >= UNLIMITED:
        return NONSENSE
    usd = (amount / per_usd).quantize(MICRO)
    return NONSENSE if usd < 0 else Balance(abs(usd), source=source, dry=usd <= dry_at)


def _per_usd(status: Reply) -> Decimal | None:
    """Units of account in a US dollar."""
    return _rate(_site(status), "quota_per_unit", PER_USD)


def _shown_per_usd(status: Reply) -> Decimal | None:
    """Units that the site shows in a US dollar: dollars, yuan, or its units of account."""
    site = _site(status)
    kind = site.get("quota_display_type", "USD" if site.get("display_in_currency") is not False else "TOKENS")
    if kind == "TOKENS":
        return _per_usd(status)
    return _rate(site, "usd_exchange_rate", None) if kind == "CNY" else Decimal(1)


def _site(status: Reply) -> Mapping[str, object]:
    found = _told(status).get("data")
    return found if isinstance(found, dict) else {}


def _rate(found: Mapping[str, object], name: str, default: Decimal | None) -> Decimal | None:
    if name not in found:
        return default
    rate = _amount(found[name])
    return rate if rate is not None and rate >= MICRO else None


def _told(reply: Reply) -> Mapping[str, object]:
    """The object in an answer, empty if there is none: their errors, too, come with status 200."""
    if reply.status != 200:
        return {}
    try:
        found = json.loads(reply.body, parse_float=Decimal, parse_int=Decimal, parse_constant=_no_number)
    except (ValueError, ArithmeticError, RecursionError):
        return {}
    if not isinstance(found, dict) or found.get("error") or found.get("success") is False:
        return {}
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


def _amount(value: object) -> Decimal | None:
    return value if isinstance(value, Decimal) and 0 <= value <= MOST else None
