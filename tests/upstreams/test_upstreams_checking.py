import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams import KINDS
from gateway.upstreams.base import Upstream
from gateway.upstreams.checking import _ANSWERS, CLOCK, TROUBLES, Checked, Heard, judged, trouble

NOON, THEN = 1_792_584_000.0, "Wed, 21 Oct 2026 12:00:00 GMT"
MODELS = {"whisper-1": "*", "tts": "tts-1", "gpt-*": "*"}


def one(kind: str = "openai", *, key: str | None = "sk-secret", models: dict[str, str] | None = None) -> Upstream:
    found = KINDS[kind]
    return Upstream("a", found, "https://api.example/v1", MODELS if models is None else models, found.can, key=key)


def said(body: object, status: int = 200, *, off: float = 0.0, date: str = THEN) -> Heard:
    return Heard(status, json.dumps(body, ensure_ascii=False).encode(), date, ours=NOON - off)


def listed(*names: object) -> dict[str, object]:
    return {"object": "list", "data": [{"id": name} for name in names]}


def error(message: str, **more: object) -> dict[str, object]:
    return {"error": {"message": message, **more}}


FINE = Checked(True, "fine", "")


@pytest.mark.parametrize(
    "body",
    [
        listed("whisper-1", "tts-1", "more"),
        listed("whisper-1", "tts-1", 7, None),
        {"data": [{"id": "whisper-1"}, {"id": "tts-1"}, "x"]},
        listed(),  # what is empty, or no list, says nothing about models
        {"data": "x"},
        {"data": None},
        {},
        [],
        None,
    ],
)
def test_a_list_with_all_of_our_models_or_none_at_all_is_fine(body: object) -> None:
    assert judged(one(), said(body)) == FINE


def test_a_list_that_is_too_long_to_be_read_is_fine() -> None:
    assert judged(one(), Heard(200, None)) == FINE
    assert judged(one("newapi"), Heard(200, None)) == FINE


def test_models_that_it_does_not_list_are_told_and_no_reason_to_leave_it() -> None:
    assert judged(one(), said(listed("whisper-1", "tts"))) == Checked(
        True,
        "models",
        "Its list of models has no tts-1. It may serve them all the same; if not, check upstreams.a.models.",
    )
    found = judged(one(models={"b": "*", "a": "x", "gpt-*": "y", "g*": "*"}), said(listed("other")))
    assert "has no b, x, y." in found.message, "what it is asked for, and no pattern"


@pytest.mark.parametrize("body", [b"<html>shop</html>", b"", b"\xff", b"[" * 100_000])
def test_what_is_no_JSON_is_no_API(body: bytes) -> None:
    found = judged(one(), Heard(200, body))
    assert found == Checked(
        False, "page", "What answers is no API: check upstreams.a.base_url, which mostly ends in /v1."
    )


@pytest.mark.parametrize(
    ("kind", "status", "body", "verdict", "words"),
    [
        ("openai", 401, error("Incorrect API key provided"), "key", "our key (401, Incorrect API key provided): set"),
        ("openai", 403, error("Not here."), "key", "(403, Not here): set upstreams.a.key to one that is good there."),
        ("newapi", 401, error("无效的令牌"), "key", "(401, 无效的令牌)"),
        ("newapi", 401, error("该令牌额度已用尽"), "dry", "used up (401, 该令牌额度已用尽): top it up, or drain"),
        ("newapi", 200, {"success": False, "message": "无权进行此操作，token 无效"}, "key", "(200, 无权"),
        ("openai", 429, error("no", code="insufficient_quota"), "dry", "(429, no)"),
        ("openai", 402, error("pay"), "dry", "(402, pay)"),
        ("openai", 429, error("slow down"), "busy", "(429, slow down): try again in a minute."),
        ("openai", 408, error("slow"), "late", "(408, slow)"),
        ("openai", 500, error("oops"), "failing", "(500, oops)"),
        ("openai", 101, error("oops"), "failing", "(101, oops)"),
        ("openai", 502, error("dial tcp 10.0.0.5:80 with sk-abcdef"), "failing", "dial tcp [address] with [key]"),
    ],
)
def test_a_refusal_is_judged_by_the_signs_of_its_kind(
    kind: str, status: int, body: object, verdict: str, words: str
) -> None:
    found = judged(one(kind), said(body, status))
    assert (found.ok, found.verdict) == (False, verdict)
    assert words in found.message


def test_an_error_with_status_200_is_one_only_where_the_kind_hides_them() -> None:
    hidden = {"success": False, "message": "token"}
    assert judged(one("openai"), said(hidden)).ok
    assert not judged(one("newapi"), said(hidden)).ok
    assert judged(one("newapi"), said(listed("whisper-1", "tts-1"))) == FINE


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_who_has_no_list_can_be_reached_and_no_more_is_known(status: int) -> None:
    found = judged(one(), said(error("Invalid URL"), status))
    assert (found.ok, found.verdict) == (True, "unchecked")
    assert f"({status})" in found.message
    assert "send it a request" in found.message


def test_who_wants_a_key_where_there_is_none_is_told_so() -> None:
    found = judged(one(key=None), said(error("no key"), 401))
    assert found == Checked(False, "key", "It wants a key (401): set upstreams.a.key.")
    assert judged(one(key=None), said(error("no"), 429)).verdict == "busy"


def test_a_redirect_is_told_with_where_it_leads() -> None:
    found = judged(one(), Heard(301, location="https://www.example/v1/models"))
    assert found == Checked(
        False,
        "moved",
        "It leads to https://www.example/v1/models (301): set upstreams.a.base_url to where it is now.",
    )
    assert "leads to nowhere" in judged(one(), Heard(302)).message


@pytest.mark.parametrize(
    ("off", "verdict", "words"),
    [
        (CLOCK, "fine", ""),
        (-CLOCK, "fine", ""),
        (CLOCK + 1, "clock", "Its clock is 61 seconds ahead of ours: set this machine's by NTP."),
        (-3600.0, "clock", "Its clock is 3600 seconds behind ours: set this machine's by NTP."),
    ],
)
def test_a_clock_that_differs_is_told(off: float, verdict: str, words: str) -> None:
    assert judged(one(), said({}, off=off)) == Checked(True, verdict, words)


def test_a_clock_that_differs_hides_nothing_else() -> None:
    found = judged(one(), said(listed("x"), off=99))
    assert (found.ok, found.verdict) == (True, "clock")
    assert "99 seconds ahead" in found.message
    assert "Its list of models has no tts-1, whisper-1." in found.message
    assert judged(one(), said(error("no"), 401, off=99)).verdict == "key"


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Wed, 99 Oct 2026 12:00:00 GMT", "Wed, 21 Oct 99999999999 1:0:0 GMT"]
)
def test_who_tells_no_time_has_no_wrong_one(date: str) -> None:
    assert judged(one(), said({}, date=date)) == FINE


@pytest.mark.parametrize("verdict", TROUBLES)
def test_each_trouble_is_a_sentence_with_a_remedy(verdict: str) -> None:
    found = trouble(one(), verdict, host="api.example", why="so it is", seconds=10.0)
    assert (found.ok, found.verdict, found.ms, found.connect_ms) == (False, verdict, None, None)
    assert found.message.endswith(".")
    assert ": " in found.message, "what is to be done"
    assert not set("{}") & set(found.message)
    assert "sk-" not in found.message


def test_the_document_tells_every_word() -> None:
    text = (Path(__file__).parents[2] / "docs" / "upstreams.md").read_text()
    told = dict(re.findall(r"^\| `(\w+)` \| (yes|no) \|", text, re.MULTILINE))
    bad = {*TROUBLES, *(word for word, _ in _ANSWERS.values()), "moved", "page"}
    good = {"fine", "unchecked", "models", "clock"}
    assert told == {**dict.fromkeys(bad, "no"), **dict.fromkeys(good, "yes")}


@given(st.sampled_from(sorted(KINDS)), st.integers(100, 999), st.binary(max_size=300), st.text(max_size=20))
def test_any_answer_gets_a_verdict(kind: str, status: int, body: bytes, date: str) -> None:
    found = judged(one(kind), Heard(status, body, date, ours=NOON))
    assert found.verdict
    assert found.ok or found.message
