import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refused
from gateway.policy.keys import (
    ALPHABET,
    CHECK_LENGTH,
    DRAW_BYTES,
    ID_LENGTH,
    SECRET_LENGTH,
    Caller,
    Presented,
    check_admin,
    check_holder,
    digest,
    mint,
    networks,
    notice,
    parse,
    read_key,
    refused_state,
    shown,
)

KEY = mint(bytes(range(100, 100 + DRAW_BYTES)))
SECRET = KEY[3 + ID_LENGTH + 1 :][:SECRET_LENGTH]
draws = st.binary(min_size=DRAW_BYTES, max_size=DRAW_BYTES)


def refusal(authorization: list[str]) -> Refused:
    with pytest.raises(Refused) as caught:
        read_key(authorization)
    assert caught.value.row.status == 401
    return caught.value


@given(draws)
def test_what_is_minted_is_read_back(draw: bytes) -> None:
    key = mint(draw)
    assert len(key) == 3 + ID_LENGTH + 1 + SECRET_LENGTH + CHECK_LENGTH
    assert parse(key) == Presented(key[3 : 3 + ID_LENGTH], key)
    assert read_key([f"Bearer {key}"]).text == key


@given(draws, draws)
def test_id_and_secret_come_from_separate_parts_of_the_draw(one: bytes, other: bytes) -> None:
    mixed = mint(one[:8] + other[8:])
    assert parse(mixed).kid == parse(mint(one)).kid
    assert mixed[14:46] == mint(other)[14:46]


def test_another_number_of_bytes_mints_nothing() -> None:
    with pytest.raises(AssertionError):
        mint(bytes(DRAW_BYTES - 1))


def test_one_wrong_character_anywhere_is_refused() -> None:
    accepted = [
        (place, letter)
        for place in range(len(KEY))
        for letter in ALPHABET + "_- \né"
        if letter != KEY[place] and _accepts(KEY[:place] + letter + KEY[place + 1 :])
    ]
    assert accepted == []


@given(draws, st.integers(0, 50), st.integers(0, 50))
def test_two_swapped_characters_are_refused(draw: bytes, one: int, other: int) -> None:
    letters = list(mint(draw))
    letters[one], letters[other] = letters[other], letters[one]
    swapped = "".join(letters)
    assert _accepts(swapped) is (swapped == mint(draw))


@pytest.mark.parametrize(
    "text", [KEY[:-1], KEY + "0", KEY[1:], KEY.upper(), KEY.lower(), "", "ag__", "sk-abc", "k" * 10_000]
)
def test_what_is_no_key_of_ours_is_refused(text: str) -> None:
    assert not _accepts(text)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
@pytest.mark.parametrize("gap", [" ", "   "])
def test_the_scheme_may_be_written_in_any_case(scheme: str, gap: str) -> None:
    assert read_key([f" {scheme}{gap}{KEY} "]).text == KEY


@pytest.mark.parametrize(
    "authorization",
    [[], [""], ["Bearer"], ["Bearer "], ["Bearer    "], [KEY], [f"Basic {KEY}"], [f"Token {KEY}"], [f"Bearer:{KEY}"]],
)
def test_without_a_bearer_key_the_caller_is_told_how_to_send_one(authorization: list[str]) -> None:
    found = refusal(authorization)
    assert (found.name, found.row.code) == ("no_key", None)


@pytest.mark.parametrize("second", ["", f"Bearer {KEY}", "Bearer other", "Basic eDp5"])
def test_two_authorization_headers_are_refused_even_if_equal(second: str) -> None:
    found = refusal([f"Bearer {KEY}", second])
    assert found.name == "bad_key"
    assert "two Authorization headers" in found.message
    assert SECRET not in found.message


@pytest.mark.parametrize("text", [f"{KEY} {KEY}", f'"{KEY}"', f"{KEY},{KEY}", f"{KEY}\x00", "你好" * 10])
def test_a_key_with_something_beside_it_is_refused_without_repeating_it(text: str) -> None:
    found = refusal([f"Bearer {text}"])
    assert found.name == "bad_key"
    assert SECRET not in found.message
    assert text not in found.message


@given(draws)
def test_what_is_shown_of_a_key_has_its_id_and_nothing_of_its_secret(draw: bytes) -> None:
    key = mint(draw)
    assert shown(key) == f"ag_{key[3:13]}_…{key[-4:]}"
    assert repr(parse(key)).count(key[14:46]) == 0


@given(st.text(max_size=80))
def test_at_most_five_characters_are_shown_of_what_is_no_key(text: str) -> None:
    said = shown(text)
    assert said == "***" or (len(text) > 12 and said == text[:3] + "***" + text[-2:] and said.isascii())


@given(draws, st.integers(0, 51), st.integers(0, 51))
def test_a_mangled_key_shows_no_four_characters_of_the_secret(draw: bytes, start: int, end: int) -> None:
    key = mint(draw)
    said = shown(key[start:end]).rpartition("_…")[0 if len(key[start:end]) == 51 else 2]
    secret = key[14:46]
    assert not any(secret[at : at + 4] in said for at in range(SECRET_LENGTH - 3))


def test_only_a_keyed_hash_is_kept() -> None:
    assert digest(b"pepper", KEY) == hmac.new(b"pepper", KEY.encode(), hashlib.sha256).hexdigest()
    assert digest(b"pepper", KEY) != digest(b"salt", KEY)


def caller(**more: object) -> Caller:
    return Caller(**{"kid": parse(KEY).kid, "name": "ann", "team": "red", "digest": "d", **more})  # type: ignore[arg-type]


def test_the_holder_of_a_good_key_is_let_in() -> None:
    for one in (caller(), caller(expires=100.5), caller(ips=networks(["10.0.0.0/8"]))):
        assert check_holder(one, parse(KEY), presented_digest="d", now=100.0, peer="10.1.2.3") is one


@pytest.mark.parametrize(
    ("one", "name"),
    [
        (None, "bad_key"),
        (caller(digest="other"), "bad_key"),
        (caller(digest="other", state="revoked"), "bad_key"),  # a stranger is not told the state
        (caller(state="revoked"), "revoked_key"),
        (caller(state="revoked", expires=1.0), "revoked_key"),
        (caller(expires=100.0), "expired_key"),
        (caller(state="expired"), "expired_key"),
        (caller(expires=0.0), "expired_key"),
        (caller(digest="other", previous="older"), "bad_key"),
        (caller(ips=networks(["10.0.0.0/8"])), "bad_address"),
        (caller(ips=()), "bad_address"),
        (caller(ips=(), state="revoked"), "revoked_key"),
        (caller(ips=(), digest="other"), "bad_key"),  # nor where the key may be used from
    ],
)
def test_other_holders_are_refused(one: Caller | None, name: str) -> None:
    with pytest.raises(Refused) as caught:
        check_holder(one, parse(KEY), presented_digest="d", now=100.0, peer="192.0.2.1")
    assert caught.value.name == name
    assert caught.value.row.status == 401
    assert parse(KEY).kid in caught.value.message
    assert SECRET not in caught.value.message


@pytest.mark.parametrize(
    ("state", "name"), [("revoked", "revoked_key"), ("expired", "expired_key"), ("gone", "bad_key"), ("", "bad_key")]
)
def test_every_state_has_its_refusal(state: str, name: str) -> None:
    assert refused_state(state, parse(KEY)).name == name


def test_a_model_must_match_a_glob_of_the_key_and_one_of_the_team() -> None:
    assert caller().may_use_model("anything")
    assert not caller(models=((),)).may_use_model("anything")
    both = caller(models=(("whisper-*", "tts-1"), ("*-1",)))
    assert both.may_use_model("whisper-1")
    assert both.may_use_model("tts-1")
    assert not both.may_use_model("whisper-2")
    assert not both.may_use_model("gpt-1")
    assert not both.may_use_model("WHISPER-1")


def test_an_upstream_must_be_allowed_by_key_and_team() -> None:
    assert caller().may_use_upstream("a")
    assert caller(upstreams=("a",)).may_use_upstream("a")
    assert not caller(upstreams=("a",), team_upstreams=("b",)).may_use_upstream("a")
    assert not caller(team_upstreams=("b",)).may_use_upstream("a")
    assert not caller(upstreams=()).may_use_upstream("a")


def test_a_callers_digest_is_in_no_repr() -> None:
    assert "deadbeef" not in repr(caller(digest="deadbeef", previous="deadbeef"))


@pytest.mark.parametrize(
    ("peer", "allowed"),
    [
        ("10.0.0.1", True),
        ("10.255.255.255", True),
        ("11.0.0.0", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("::ffff:10.0.0.1", True),
        ("::ffff:11.0.0.1", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("fe80::1%eth0", False),
        ("", False),
        ("testclient", False),
        ("10.0.0.1, 10.0.0.2", False),
    ],
)
def test_a_key_may_be_used_from_its_networks_alone(peer: str, allowed: bool) -> None:
    one = caller(ips=networks(["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]))
    assert one.may_call_from(peer) is allowed
    assert caller().may_call_from(peer)
    assert not caller(ips=()).may_call_from(peer)


def test_who_calls_from_elsewhere_is_told_the_address() -> None:
    for peer, word in (("192.0.2.1", "192.0.2.1"), ("", "unknown")):
        with pytest.raises(Refused) as caught:
            check_holder(caller(ips=()), parse(KEY), presented_digest="d", now=0.0, peer=peer)
        assert f"may not be used from {word}" in caught.value.message


def test_networks_are_read_strictly() -> None:
    assert [str(one) for one in networks(["10.0.0.0/8", "::1"])] == ["10.0.0.0/8", "::1/128"]
    for text in ("10.0.0.1/8", "ten", "1.2.3.4/33"):
        with pytest.raises(ValueError, match=text.partition("/")[0]):
            networks([text])


def test_the_secret_before_a_rotation_is_let_in_with_a_notice() -> None:
    one = caller(digest="new", previous="d", previous_until=1_800_000_000.9)
    found = check_holder(one, parse(KEY), presented_digest="d", now=9e9, peer="")
    assert (found.digest, found.outdated) == ("d", True), "admission is shown what the caller has shown"
    assert notice(found) == {"x-audiogate-key": "rotated; use the new key before 2027-01-15T08:00:00Z"}
    fresh = check_holder(one, parse(KEY), presented_digest="new", now=0.0, peer="")
    assert fresh is one
    assert notice(fresh) == notice(None) == {}


@pytest.mark.parametrize("state", [{"state": "revoked"}, {"expires": 0.0}, {"ips": ()}])
def test_the_secret_before_a_rotation_opens_no_more_than_the_new_one(state: dict[str, object]) -> None:
    with pytest.raises(Refused):
        check_holder(caller(digest="new", previous="d", **state), parse(KEY), presented_digest="d", now=1.0, peer="")


def test_a_new_secret_may_go_with_the_same_id() -> None:
    again = mint(bytes(DRAW_BYTES), kid=parse(KEY).kid)
    assert parse(again).kid == parse(KEY).kid
    assert again != KEY


TOKEN = "an operator's token"


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer  {TOKEN} "])
def test_the_operators_token_opens(header: str) -> None:
    check_admin([header], TOKEN)


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        ([], TOKEN),
        ([TOKEN], TOKEN),
        ([f"Basic {TOKEN}"], TOKEN),
        ([f"Bearer {TOKEN}x"], TOKEN),
        ([f"Bearer {TOKEN[:-1]}"], TOKEN),
        (["Bearer "], TOKEN),
        (["Bearer "], ""),
        ([], ""),
        ([f"Bearer {TOKEN}", f"Bearer {TOKEN}"], TOKEN),
        (["Bearer é"], TOKEN),
    ],
)
def test_anything_else_does_not(authorization: list[str], token: str) -> None:
    with pytest.raises(Refused) as caught:
        check_admin(authorization, token)
    assert (caught.value.name, caught.value.row.status) == ("bad_admin_token", 401)


def _accepts(text: str) -> bool:
    try:
        parse(text)
    except Refused:
        return False
    return True
