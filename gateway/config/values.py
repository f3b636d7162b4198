"""What a text of the file can mean: numbers, sizes, amounts, names, addresses, dates. One row each, at the end."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

from gateway.config.scalars import REFERENCE, Objection, Scalar, matched, number, text
from gateway.policy.terms import read_span
from gateway.policy.zones import known

MOST_USD = Decimal(1_000_000)
MOST_TIMES = 1000
_AMOUNT = r"[0-9]{1,16}(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?"
_UNITS: Mapping[str, int] = {
    "": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
# What samples are made of. Who leaves them in their file, or nearly so, has no secret.
_SAMPLES = re.compile(
    "change.?(me|this|it)|replace|please|insert|enter|default|example|sample|secret|password|passwd|token|pepper|admin"
    "|operator|metrics|audiogate|gateway|your|here|with|some|random|value|string|test|dummy|todo|xxx+|key|the",
    re.IGNORECASE,
)
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _decimal(value: str) -> Decimal:
    return Decimal(matched(_AMOUNT, value))


def _price(value: str) -> Decimal:
    price = _decimal(value)
    if price > MOST_USD or price != round(price, 12):
        raise ValueError
    return price


def _multiplier(value: str) -> Decimal:
    factor = _decimal(value)
    if not 0 < factor <= MOST_TIMES or factor != round(factor, 6):
        raise ValueError
    return factor


def _seconds(value: str) -> float:
    seconds = _decimal(value)
    if not 0 < seconds <= 86_400:
        raise ValueError
    return float(seconds)


def _short(value: str) -> float:
    seconds = _seconds(value)
    if seconds > 10:
        raise ValueError
    return seconds


def _size(value: str) -> int:
    match = re.fullmatch(r"([0-9]{1,15}) ?([KMG]i?B)?", value)
    if match is None or not 1 <= int(match[1]) * _UNITS[match[2] or ""] < 2**53:
        raise ValueError
    return int(match[1]) * _UNITS[match[2] or ""]


def _flag(value: str) -> bool:
    if value.lower() not in _TRUTH:
        raise ValueError
    return _TRUTH[value.lower()]


def _moment(value: str) -> float:
    moment = datetime.fromisoformat(matched(_DATE, value))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _span(value: str) -> int | None:
    if not value:
        return None
    seconds = read_span(value)
    if seconds < 3600:
        raise ValueError
    return seconds


def _secret(value: str) -> str:
    own = re.sub(r"[\W_]", "", _SAMPLES.sub("", value))
    if value and (len(own) < 10 or len(set(own)) < 5):
        raise Objection("this is a sample or easy to guess; make one, for instance with `openssl rand -hex 32`")
    return value


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError
    return value


def _folder(value: str) -> Path:
    try:
        return Path(_printable(value)).expanduser()
    except RuntimeError:
        raise Objection("'~' stands for a home folder that is not known here; write the path out") from None


def _network(value: str) -> str:
    return str(ip_network(value))


def _zone(value: str) -> str:
    if not known(value):
        raise ValueError
    return value


def _address(value: str) -> str:
    parts = urlsplit(matched(r"https?://[!-~]+", value))
    if not parts.hostname or parts.port == 0:  # reading `port` raises ValueError where it is no number
        raise ValueError
    if "@" in parts.netloc:
        raise Objection("expected an address without user name and password; put the upstream's key under `key`")
    if "?" in value or "#" in value:
        raise Objection("expected an address without query ('?') and fragment ('#')")
    return value.rstrip("/")


DECIMAL = Scalar(
    "a number of 0 or more such as 20 or 0.5", _decimal, number({"type": "number", "minimum": 0}, "^[0-9]")
)
PRICE = Scalar(
    "US dollars from 0 to 1000000 with at most 12 decimals, such as 0.006",
    _price,
    number({"type": "number", "minimum": 0, "maximum": 1_000_000}, "^[0-9]"),
)
MULTIPLIER = Scalar(
    "a number of more than 0 and at most 1000 with at most 6 decimals, such as 1.5",
    _multiplier,
    number({"type": "number", "exclusiveMinimum": 0, "maximum": MOST_TIMES}, "^[0-9]"),
)
SECONDS = Scalar(
    "seconds, more than 0 and at most 86400",
    _seconds,
    number({"type": "number", "exclusiveMinimum": 0, "maximum": 86_400}, "^[0-9]"),
)
SHORT = Scalar(
    "seconds, more than 0 and at most 10",
    _short,
    number({"type": "number", "exclusiveMinimum": 0, "maximum": 10}, "^[0-9]"),
)
SIZE = Scalar(
    "a number of bytes such as 26214400 or 25MiB (KB, MB, GB, KiB, MiB, GiB)",
    _size,
    number({"type": "integer", "minimum": 1}, "^[0-9]+ ?([KMG]i?B)?$"),
)
FLAG = Scalar(
    "true or false",
    _flag,
    {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": f"^(true|false|yes|no|on|off)$|{REFERENCE}"}]},
)
MOMENT = text(_DATE, "a date such as 2027-01-01 or 2027-01-01T00:00:00Z", read=_moment)
SPAN = text("|[0-9]{1,7}[smhd]?", "nothing or a span of at least an hour such as 90d or 24h", read=_span, blank=True)
NAME = text("[A-Za-z0-9._-]{1,64}", "a name of 1 to 64 letters, digits, '.', '_' or '-'")
MODEL = text(r"\S(.{0,198}\S)?", "a model's name or a pattern with *, ? or []", read=_printable)
NETWORK = text(
    "[0-9A-Fa-f.:]{2,45}(/[0-9]{1,3})?", "an address or a network such as 10.0.0.0/8 or 2001:db8::/32", read=_network
)
ZONE = text("[A-Za-z0-9_+/-]{1,64}", "a time zone such as Asia/Shanghai, Europe/Berlin or UTC", read=_zone)
NOTE = text(".{0,500}", "at most 500 characters on one line", read=_printable, blank=True)
HOST = text("[A-Za-z0-9.:_-]{1,253}", "a host name or IP address")
ADDRESS = Scalar(
    "an address such as https://api.example.com/v1",
    _address,
    {"type": "string", "pattern": f"^https?://[^?#@]+$|{REFERENCE}"},
)
STORE_URL = text(
    r"|(rediss?(\+(sentinel|cluster))?|unix)://[!-~]+",
    "nothing or an address such as redis://host:6379/0",
    secret=True,
    blank=True,
)
PEPPER = text(
    "|.{16,4096}",
    "nothing or at least 16 characters",
    read=lambda value: _secret(value).encode() or None,
    secret=True,
    blank=True,
)
TOKEN = text(
    "|[!-~]{16,4096}", "nothing or at least 16 characters without spaces", read=_secret, secret=True, blank=True
)
FOLDER = text(".+", "a folder's path", read=_folder)
ANY_FOLDER = text("|.+", "nothing or a folder's path", read=lambda value: _folder(value) if value else None, blank=True)
SECRET = text("[!-~]{0,4096}", "a key without spaces", secret=True, blank=True)
