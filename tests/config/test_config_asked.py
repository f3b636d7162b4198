"""What comes through other doors than the file is held against the same rules."""

import pytest

from gateway.config.asked import key_asked, team_asked
from gateway.config.model import Key, Team
from gateway.errors import Refused
from gateway.policy.limits import Limit

UPSTREAMS = ("one", "two")


def refusal(asked: dict[str, object], *, name: str = "n") -> tuple[str | None, str]:
    with pytest.raises(Refused) as caught:
        key_asked(name, asked, upstreams=UPSTREAMS)
    assert (caught.value.name, caught.value.row.status) == ("invalid", 400)
    return caught.value.param, str(caught.value.words["why"])


def test_nothing_asked_is_every_default() -> None:
    assert key_asked("n", {}, upstreams=()) == Key("n", "default")
    assert key_asked("n", dict.fromkeys(("models", "limits", "team", "ips")), upstreams=()) == Key("n", "default")
    assert team_asked("n", {}, upstreams=()) == Team("n")


def test_everything_can_be_asked_for() -> None:
    limits = [{"measure": "usd", "per": "day", "amount": 0.5}, {"measure": "concurrency", "per": None, "amount": "4"}]
    limits += [{"measure": "requests", "per": "minute", "amount": 60, "burst": 10}]
    common = {"models": ["whisper-*"], "upstreams": ["two", "one"], "limits": limits, "note": "for: {it} '"}
    more = {"team": "red", "ips": ["10.0.0.0/8", "::1", "192.0.2.1"], "expires": "2027-01-01", "exact": True}
    rows = (Limit("usd", "day", 500_000), Limit("concurrency", "", 4), Limit("requests", "minute", 60, 10))
    assert key_asked("n", {**common, **more}, upstreams=UPSTREAMS) == Key(
        "n",
        "red",
        models=("whisper-*",),
        upstreams=("two", "one"),
        limits=rows,
        expires=1_798_761_600.0,
        ips=("10.0.0.0/8", "::1/128", "192.0.2.1/32"),
        note="for: {it} '",
        exact=True,
    )
    asked = {**common, "timezone": "Asia/Shanghai"}
    assert team_asked("n", asked, upstreams=UPSTREAMS) == Team(
        "n", ("whisper-*",), ("two", "one"), rows, "for: {it} '", "Asia/Shanghai"
    )
    assert not key_asked("n", {"exact": False}, upstreams=()).exact


LIMIT = {"measure": "usd", "per": "day", "amount": 1}
RATE = {"measure": "requests", "per": "minute", "amount": 60}
BURST = "expected it with requests per minute or hour alone, and at most the amount"


@pytest.mark.parametrize(
    ("asked", "param", "why"),
    [
        ({"team": "a b"}, "team", "expected a name of 1 to 64 letters"),
        ({"models": []}, "models", "expected at least one entry"),
        ({"models": [""]}, "models[0]", "expected a model's name"),
        ({"models": "whisper"}, "models", "expected a list"),
        ({"upstreams": ["one", "tow"]}, "upstreams[1]", "no upstream is called 'tow'; did you mean 'two'?"),
        ({"limits": [LIMIT, LIMIT]}, "limits[1].measure", "usd per day is limited twice"),
        ({"limits": [{**LIMIT, "per": None}]}, "limits[0].per", "this is missing: usd are counted per period"),
        ({"limits": [{**LIMIT, "measure": "concurrency"}]}, "limits[0].per", "expected no period"),
        ({"limits": [{**LIMIT, "burst": 1}]}, "limits[0].burst", BURST),
        ({"limits": [{**RATE, "burst": 61}]}, "limits[0].burst", BURST),
        ({"limits": [{**RATE, "burst": 0}]}, "limits[0].burst", "expected a whole number from 1"),
        ({"exact": "perhaps"}, "exact", "expected true or false"),
        ({"timezone": "UTC"}, "timezone", "unknown key"),
        ({"limits": [{**LIMIT, "measure": "usb"}]}, "limits[0].measure", "expected usd"),
        ({"limits": [{**LIMIT, "amount": 0}]}, "limits[0].amount", "expected more than 0"),
        ({"limits": [{**LIMIT, "amount": -1}]}, "limits[0].amount", "expected a number of 0 or more"),
        ({"limits": [{**LIMIT, "amount": 1e99}]}, "limits[0].amount", "expected"),
        ({"limits": [{**LIMIT, "amount": True}]}, "limits[0].amount", "expected a number"),
        ({"limits": [{"measure": "usd", "per": "day"}]}, "limits[0].amount", "this is missing"),
        ({"limits": [{**LIMIT, "a": 1}]}, "limits[0].a", "unknown key"),
        ({"limits": ["usd"]}, "limits[0]", "expected a mapping"),
        ({"ips": ["10.0.0.1/8"]}, "ips[0]", "expected an address or a network"),
        ({"ips": ["anywhere"]}, "ips[0]", "expected an address or a network"),
        ({"ips": []}, "ips", "expected at least one entry"),
        ({"expires": "soon"}, "expires", "expected a date such as 2027-01-01 or 2027-01-01T00:00:00Z, got 'soon'"),
        ({"note": "a\nb"}, "note", "expected at most 500 characters on one line"),
        ({"note": "x" * 501}, "note", "expected at most 500 characters on one line"),
        ({"nope": 1}, "nope", "unknown key"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_told_with_its_place(asked: dict[str, object], param: str, why: str) -> None:
    said = refusal(asked)
    assert said[0] == param
    assert said[1].startswith(why)


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "a/b", "é", "a\n"])
def test_names_are_those_of_the_file(name: str) -> None:
    assert refusal({}, name=name)[0] == "name"
