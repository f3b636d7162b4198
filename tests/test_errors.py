import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway
from gateway.errors import ROWS, Refused, Row, SetupError, refuse

PACKAGE = Path(gateway.__file__).parent
OPTIONS = {"param", "retry_after"}


def fields(row: Row) -> set[str]:
    """The words that a row's message needs."""
    return {name for _, name, _, _ in string.Formatter().parse(row.message) if name}


def filled(name: str, **more: object) -> Refused:
    return refuse(name, **{word: f"<{word}>" for word in fields(ROWS[name]) if word != "param"}, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(ROWS))
def test_every_row_renders_all_four_keys_of_the_envelope(name: str) -> None:
    refusal = filled(name, param="p" if "param" in fields(ROWS[name]) else None)
    (outer,) = refusal.envelope().items()
    assert outer[0] == "error"
    error = outer[1]
    assert list(error) == ["message", "type", "param", "code"]
    assert isinstance(error["message"], str)
    assert error["message"]
    assert "{" not in error["message"]
    assert isinstance(error["type"], str)
    assert error["type"]
    for key in ("param", "code"):
        assert error[key] is None or (isinstance(error[key], str) and error[key])
    assert str(refusal) == f"{name}: {error['message']}"


@pytest.mark.parametrize("name", sorted(ROWS))
def test_every_row_has_a_status_of_an_error_and_a_known_word_on_retries(name: str) -> None:
    row = ROWS[name]
    assert 400 <= row.status <= 599
    assert row.retry in {"sdk", "yes", "no"}
    if row.type == "server_error":
        assert row.status >= 500 or name == "too_large"
    else:
        assert row.status < 500


def test_a_401_is_always_about_the_callers_key() -> None:
    assert {name for name, row in ROWS.items() if row.status == 401} == {
        "no_key",
        "bad_key",
        "revoked_key",
        "expired_key",
        "bad_address",
        "bad_admin_token",  # or about an operator's token
        "bad_metrics_token",
    }


def test_no_sdk_is_told_to_try_again_when_a_quota_is_used_up() -> None:
    for name, row in ROWS.items():
        if row.type == "insufficient_quota":
            assert (row.code, row.retry, row.status) == ("insufficient_quota", "no", 429), name


def test_the_callers_param_goes_before_the_rows() -> None:
    assert refuse("no_model", model="m").envelope()["error"]["param"] == "model"
    assert refuse("no_model", model="m", param="x").envelope()["error"]["param"] == "x"
    assert refuse("missing", param="file").message == "Missing required parameter: 'file'."


def test_a_refusal_with_a_status_of_its_own_keeps_the_rows_words() -> None:
    said = Refused("upstream_said", {"message": "{no} %s"}, status=422, code="c", param="file")
    assert said.row == Row(422, "invalid_request_error", "c", "{message}", None, "sdk")
    assert said.envelope()["error"] == {
        "message": "{no} %s",
        "type": "invalid_request_error",
        "param": "file",
        "code": "c",
    }
    assert Refused("upstream_said", {"message": "x"}, status=400, type="t").row.type == "t"
    assert Refused("upstream_said", {"message": "x"}, type="ignored", code="ignored").row is ROWS["upstream_said"]


@pytest.mark.parametrize("text", ["{x}", "{0}", "{", "}", "{x.__class__}", "%s", "\\", "你好", "a\r\nb"])
def test_what_strangers_write_is_no_format_string(text: str) -> None:
    assert text in refuse("no_model", model=text).message
    assert text in refuse("invalid", param=text, why=text).message


def test_a_refusal_can_be_raised_and_carries_its_headers() -> None:
    with pytest.raises(Refused) as caught:
        raise Refused("internal", headers={"x": "y"}, retry_after=2.0)
    assert (caught.value.headers, caught.value.retry_after) == ({"x": "y"}, 2.0)
    assert refuse("internal") != refuse("internal")  # an exception is itself and nothing else


def test_a_name_that_is_not_in_the_table_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="no error named 'nope'"):
        refuse("nope")


def test_a_start_that_fails_has_one_sentence() -> None:
    assert str(SetupError("Set REDIS_URL.")) == "Set REDIS_URL."


# -- every place that refuses: are its words those of the row?


def _uses() -> Iterator[tuple[str, list[str], ast.Call]]:
    """Each call of refuse() in the package with the names it may have; no name where it is looked up."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "refuse":
                where = f"{path.relative_to(PACKAGE)}:{node.lineno}"
                yield where, [str(name) for name in _names(node.args[0])], node


def _names(node: ast.expr) -> list[object]:
    if isinstance(node, ast.Constant):
        return [node.value]
    if isinstance(node, ast.IfExp):
        return [*_names(node.body), *_names(node.orelse)]
    return []


USES = {where: (names, node) for where, names, node in _uses()}


def test_the_places_that_refuse_are_found() -> None:
    assert len(USES) > 40
    assert sum(not names for names, _ in USES.values()) <= 4


@pytest.mark.parametrize("where", [where for where, (names, _) in USES.items() if names])
def test_every_refusal_passes_the_words_of_its_row(where: str) -> None:
    names, call = USES[where]
    given = {keyword.arg for keyword in call.keywords}
    needed: set[str] = set()
    for name in names:
        assert name in ROWS, where
        assert fields(ROWS[name]) <= given, f"{where}: {name} lacks a word"
        needed |= fields(ROWS[name])
    assert given <= needed | OPTIONS, f"{where}: a word that no message has"
