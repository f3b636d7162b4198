import pytest

from gateway.upstreams.base import Capabilities, Kind, Sign, Upstream, Verdict

PLAIN = Kind("plain", Capabilities())
SECRET = "sk-upstream-secret"
UPSTREAM = Upstream("a", PLAIN, "https://host/api/v1", {"m": "*"}, PLAIN.can, key=SECRET)


@pytest.mark.parametrize(
    ("sign", "shown"),
    [
        (Sign(Verdict.BUSY), True),
        (Sign(Verdict.BUSY, 400, code="x", text="LATER"), True),
        (Sign(Verdict.BUSY, 401), False),
        (Sign(Verdict.BUSY, code="X"), False),
        (Sign(Verdict.BUSY, text="^later$"), False),
    ],
)
def test_a_sign_is_shown_by_what_has_all_its_fields(sign: Sign, shown: bool) -> None:
    assert sign.matches(400, "x", "come later") is shown


def test_an_upstreams_key_is_in_no_repr() -> None:
    assert SECRET not in repr(UPSTREAM)


@pytest.mark.parametrize(
    ("models", "asked", "sent"),
    [
        ({"m": "*"}, "m", "m"),
        ({"m": "big"}, "m", "big"),
        ({"m-*": "*"}, "m-1", "m-1"),
        ({"m-*": "big"}, "m-1", "big"),
        ({"x": "y", "m-*": "first", "*": "second"}, "m-1", "first"),
        ({"*": "*", "m": "big"}, "m", "big"),
        ({"m": "*"}, "M", None),
        ({}, "m", None),
    ],
)
def test_what_an_upstream_calls_a_model(models: dict[str, str], asked: str, sent: str | None) -> None:
    assert Upstream("a", PLAIN, "http://host/v1", models, PLAIN.can).sent_model(asked) == sent
