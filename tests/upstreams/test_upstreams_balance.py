"""What is asked of an upstream about our money, and what its answers mean."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams import KINDS
from gateway.upstreams.balance import (
    HOPELESS,
    JITTER,
    KEPT,
    NONSENSE,
    OFTEN,
    REFUSED,
    SILENT,
    SOONEST,
    UNTOLD,
    USED_UP,
    USUAL,
    Ask,
    Balance,
    Reply,
    asking,
    keep,
    rest,
)
from gateway.upstreams.base import Upstream

ROOT = "https://a.example:444"
TOKEN, STATUS = "/api/usage/token/", "/api/status"
SUBSCRIPTION, USAGE = "/v1/dashboard/billing/subscription", "/v1/dashboard/billing/usage"
PAGES = {TOKEN: "token", STATUS: "status", SUBSCRIPTION: "subscription", USAGE: "usage"}
NOT_FOUND = Reply(404, b'{"error":{"message":"Invalid URL (GET /api/usage/token/)","type":"invalid_request_error"}}')


def at(base_url: str) -> Upstream:
    kind = KINDS["newapi"]
    return Upstream("a", kind, base_url, {"m": "m"}, kind.can, key="sk-a", balance=True)


def page(found: object, status: int = 200) -> Reply:
    return Reply(status, found.encode() if isinstance(found, str) else json.dumps(found).encode())


def token(available: object, **more: object) -> Reply:
    data = {"object": "token_usage", "name": "x", "total_granted": 9, "total_used": 0, "total_available": available}
    return page({"code": True, "message": "ok", "data": {**data, "unlimited_quota": False, **more}})


def site(**data: object) -> Reply:
    return page({"success": True, "message": "", "data": data})


def limit(usd: object) -> Reply:
    return page({"object": "billing_subscription", "has_payment_method": True, "hard_limit_usd": usd})


def used(cents: object) -> Reply:
    return page({"object": "list", "total_usage": cents})


def asked(base_url: str = ROOT + "/v1", **pages: Reply) -> tuple[Balance, list[Ask]]:
    """What these pages mean, the others not being there, and what was asked."""
    questions, asks = asking(at(base_url)), []
    try:
        ask = next(questions)
        while True:
            asks.append(ask)
            name = next(name for path, name in PAGES.items() if ask.url.endswith(path.removeprefix("/v1")))
            ask = questions.send(pages.get(name, NOT_FOUND))
    except StopIteration as end:
        found: Balance = end.value
    return found, asks


def told(**pages: Reply) -> Balance:
    return asked(**pages)[0]


def usd(text: str, source: str = "token") -> Balance:
    return Balance(Decimal(text), source=source, dry=not Decimal(text))


def test_a_key_is_asked_for_first_and_then_the_units() -> None:
    found, asks = asked(token=token(12_345_678), status=site(quota_per_unit=1_000_000))
    assert found == usd("12.345678")
    assert asks == [Ask(ROOT + TOKEN), Ask(ROOT + STATUS, keyed=False)]


def test_where_keys_have_no_page_the_billing_pages_are_asked_and_then_the_units() -> None:
    found, asks = asked(subscription=limit(20.5), usage=used(50))
    assert found == usd("20", "billing")
    assert asks == [Ask(ROOT + TOKEN), Ask(ROOT + SUBSCRIPTION), Ask(ROOT + USAGE), Ask(ROOT + STATUS, keyed=False)]


@pytest.mark.parametrize(
    ("base_url", "token_page", "billing_page"),
    [
        ("http://h/v1", "http://h/api/usage/token/", "http://h/v1/dashboard/billing/subscription"),
        ("http://h", "http://h/api/usage/token/", "http://h/dashboard/billing/subscription"),
        ("http://h/relay/v1", "http://h/relay/api/usage/token/", "http://h/relay/v1/dashboard/billing/subscription"),
    ],
)
def test_all_is_asked_at_the_upstreams_own_address(base_url: str, token_page: str, billing_page: str) -> None:
    assert [ask.url for ask in asked(base_url)[1]] == [token_page, billing_page]


@pytest.mark.parametrize(
    ("available", "status", "expected"),
    [
        (500_000, NOT_FOUND, "1"),
        (500_000, Reply(0), "1"),
        (500_000, site(), "1"),
        (500_000, site(quota_per_unit=500_000.0, quota_display_type="CNY", usd_exchange_rate="7.3"), "1"),
        (1, site(quota_per_unit=500_000), "0.000002"),
        (0, site(), "0"),
        (5e5, site(quota_per_unit=250_000), "2"),
        (499_999_999_999_99, site(), "99999999.999998"),
    ],
)
def test_a_keys_page_is_in_units_of_account(available: float, status: Reply, expected: str) -> None:
    assert told(token=token(available), status=status) == usd(expected)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (NOT_FOUND, "14"),
        (site(quota_display_type="USD", usd_exchange_rate=7), "14"),
        (site(quota_display_type="CNY", usd_exchange_rate=7), "2"),
        (site(quota_display_type="CUSTOM", custom_currency_exchange_rate=7), "14"),  # the server does not convert it
        (site(quota_display_type="TOKENS", quota_per_unit=7), "2"),
        (site(quota_display_type="TOKENS"), "0.000028"),
        (site(display_in_currency=False, quota_per_unit=14), "1"),
        (site(display_in_currency=True, quota_per_unit=14), "14"),
        (site(display_in_currency=False, quota_display_type="USD", quota_per_unit=14), "14"),
    ],
)
def test_the_billing_pages_are_in_the_unit_that_the_site_shows(status: Reply, expected: str) -> None:
    assert told(subscription=limit(20), usage=used(600), status=status) == usd(expected, "billing")


def test_a_wallet_is_dry_at_the_threshold_and_not_above_it() -> None:
    for left, dry in ((1_000_000, True), (1_000_001, False)):
        questions = asking(at(ROOT + "/v1"), dry_at=Decimal(2))
        next(questions)
        questions.send(token(left))
        with pytest.raises(StopIteration) as end:
            questions.send(site())
        assert end.value.value.dry is dry


def test_the_rounding_of_floats_leaves_nothing_owed() -> None:
    found = told(subscription=limit(12.345677999999999), usage=used(1234.5678000000001))
    assert (found, str(found.usd)) == (usd("0", "billing"), "0.000000")


def test_a_key_without_a_limit_may_show_its_accounts_wallet() -> None:
    free = token(-5, unlimited_quota=True)
    assert told(token=free, subscription=limit(30), usage=used(1000)) == usd("20", "billing")
    assert told(token=free, subscription=limit(100_000_000)) == Balance(unlimited=True, source="billing")
    assert told(token=free) == Balance(unlimited=True, source="token")
    assert told(token=free, subscription=limit("x")) == Balance(unlimited=True, source="token")


def test_no_limit_is_told_as_a_hundred_million_in_any_unit() -> None:
    found, asks = asked(subscription=limit(100_000_000), status=site(quota_display_type="CNY", usd_exchange_rate=7))
    assert found == Balance(unlimited=True, source="billing")
    assert len(asks) == 2


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("该令牌额度已用尽 !token.UnlimitedQuota && token.RemainQuota = 0", USED_UP),
        ("token quota exhausted", USED_UP),
        ("无效的令牌 (request id: 2026)", REFUSED),
        ("", REFUSED),
    ],
)
def test_the_billing_pages_shut_out_keys_that_are_used_up_or_bad(message: str, expected: Balance) -> None:
    assert told(subscription=page({"error": {"message": message}}, 401)) == expected
    assert USED_UP.dry
    assert not REFUSED.dry


def test_who_does_not_answer_or_is_asked_too_often_is_asked_nothing_more() -> None:
    assert asked(token=Reply(0)) == (SILENT, [Ask(ROOT + TOKEN)])
    assert asked(token=Reply(429, b'{"success":false}')) == (OFTEN, [Ask(ROOT + TOKEN)])


ERRORS = [
    {"error": {"message": "quota", "type": "new_api_error"}, "hard_limit_usd": 0, "total_usage": 0, "data": {}},
    {"success": False, "message": "无效的令牌", "hard_limit_usd": 0, "total_usage": 0, "data": {}},
]
NOT_TOLD = [
    page("<!doctype html><title>New API</title>"),
    page(""),
    page("[]"),
    page("null"),
    page("[" * 50_000),
    Reply(200, b"\xff\xfe\xfd"),
    page({}),
    page({"data": []}),
    page({"data": "x"}),
    Reply(301),
    Reply(500, b"{}"),
    Reply(0),
    *map(page, ERRORS),
]


@pytest.mark.parametrize("reply", NOT_TOLD[:-3], ids=lambda reply: reply.body[:20].decode("utf-8", "replace"))
def test_a_page_that_tells_nothing_is_none(reply: Reply) -> None:
    assert told(token=reply) == UNTOLD
    assert told(token=reply, subscription=limit(2), usage=used(0)) == usd("2", "billing")


@pytest.mark.parametrize("reply", NOT_TOLD)
def test_a_billing_page_that_tells_nothing_leaves_the_balance_unknown(reply: Reply) -> None:
    assert told(subscription=reply) == UNTOLD
    assert told(subscription=limit(2), usage=reply) == UNTOLD


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_behind_status_200_is_no_balance(error: dict[str, object]) -> None:
    data = {"total_available": 0, "unlimited_quota": True}
    assert told(token=page({**error, "data": data})) == UNTOLD
    assert told(token=token(500_000), status=page({**error, "data": {"quota_per_unit": 1}})) == usd("1")


NO_NUMBER = ['"12"', "true", "null", "[1]", '{"a":1}', "-1", "-0.01", "1e308", "1e19", "1e99999", "9" * 5000]
NO_JSON = ["NaN", "Infinity", "-Infinity", "1e99999999999999999999", "1e-99999999999999999999"]


@pytest.mark.parametrize("value", [*NO_NUMBER, *NO_JSON], ids=lambda value: value[:12])
def test_a_hostile_number_makes_the_balance_unknown(value: str) -> None:
    expected = NONSENSE if value in NO_NUMBER else UNTOLD
    hard, cents = f'{{"hard_limit_usd":{value}}}', f'{{"total_usage":{value}}}'
    assert not told(token=page(f'{{"code":true,"data":{{"total_available":{value}}}}}')).known
    assert told(subscription=page(hard)) == expected
    assert told(subscription=limit(2), usage=page(cents)) == expected


@pytest.mark.parametrize("value", [*NO_NUMBER, "0", "1e-999999", "1e-7"], ids=lambda value: value[:12])
def test_hostile_units_make_the_balance_unknown(value: str) -> None:
    per_unit = page(f'{{"data":{{"quota_per_unit":{value}}}}}')
    rate = page(f'{{"data":{{"quota_display_type":"CNY","usd_exchange_rate":{value}}}}}')
    assert told(token=token(5), status=per_unit) == NONSENSE
    assert told(subscription=limit(2), usage=used(1), status=rate) == NONSENSE


def test_yuan_without_a_rate_are_no_dollars() -> None:
    assert told(subscription=limit(2), usage=used(1), status=site(quota_display_type="CNY")) == NONSENSE


@pytest.mark.parametrize(
    "pages",
    [
        {"subscription": limit(2), "usage": used(201)},  # more used than there was: an old one-api tells the rest
        {"subscription": limit(100_000_001), "usage": used(0)},
        {"token": token(10**17)},
        {"token": token(500), "status": site(quota_per_unit=0.000001)},
    ],
)
def test_what_no_wallet_can_hold_is_not_known(pages: dict[str, Reply]) -> None:
    assert told(**pages) == NONSENSE


FIELDS = ["total_available", "unlimited_quota", "hard_limit_usd", "total_usage", "quota_per_unit", "error"]
FIELDS += ["quota_display_type", "usd_exchange_rate", "display_in_currency", "success"]
VALUES = st.sampled_from([None, True, False, "CNY", "TOKENS", "", [], {}, 0, 100_000_000]) | st.floats() | st.integers()
OBJECTS = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4)
PAGE = st.builds(lambda outer, inner: json.dumps({**outer, "data": inner}), OBJECTS, OBJECTS | VALUES)


@given(st.dictionaries(st.sampled_from(sorted(PAGES.values())), st.tuples(st.sampled_from([0, 200, 401]), PAGE)))
def test_whatever_is_told_a_balance_is_sound(pages: dict[str, tuple[int, str]]) -> None:
    found = told(**{name: Reply(status, text.encode()) for name, (status, text) in pages.items()})
    assert found.known == bool(found.source) == (not found.why)
    assert found.usd is None or (0 <= found.usd <= 100_000_000 and found.dry == (found.usd == 0))
    assert not (found.unlimited and (found.dry or found.usd is not None))


def test_the_last_known_balance_is_gone_by_for_a_while() -> None:
    known, unlimited = usd("1"), Balance(unlimited=True, source="token")
    assert keep(known, SILENT, age=KEPT) is known
    assert keep(known, SILENT, age=KEPT + 1) is SILENT
    assert keep(unlimited, SILENT, age=0) is unlimited
    assert keep(known, unlimited, age=0) is unlimited
    assert keep(SILENT, UNTOLD, age=0) is UNTOLD
    assert keep(None, SILENT, age=0) is SILENT
    assert keep(None, known, age=0) is known


def test_a_dry_wallet_is_looked_at_most_often_and_one_that_does_not_tell_least() -> None:
    for found, pace in ((usd("0"), SOONEST), (USED_UP, SOONEST), (usd("1"), USUAL), (SILENT, HOPELESS)):
        assert SOONEST + rest(found, draw=0.0) == pace
        assert rest(found, draw=0.5) - rest(found, draw=0.0) == JITTER / 2
