import json

import pytest

from gateway.upstreams import KINDS
from gateway.upstreams.base import Verdict
from gateway.upstreams.judging import judge
from gateway.upstreams.openai import KIND


@pytest.mark.parametrize(
    ("status", "type_", "code", "message", "expected"),
    [
        (401, "invalid_request_error", None, "You didn't provide an API key", Verdict.CREDENTIALS),
        (
            401,
            "invalid_request_error",
            "invalid_api_key",
            "Incorrect API key provided: sk-ab***yz.",
            Verdict.CREDENTIALS,
        ),
        (
            403,
            "request_forbidden",
            "unsupported_country_region_territory",
            "Country not supported",
            Verdict.CREDENTIALS,
        ),
        (403, "invalid_request_error", "model_not_found", "project lacks access to model", Verdict.NO_MODEL),
        (403, "invalid_request_error", None, "insufficient permissions", Verdict.CREDENTIALS),
        (404, "invalid_request_error", None, "Invalid URL (POST /v1/x)", Verdict.CALLER),
        (404, "invalid_request_error", "model_not_found", "The model `x` does not exist", Verdict.NO_MODEL),
        (405, "invalid_request_error", None, "Not allowed to GET on /v1/audio/speech", Verdict.CALLER),
        (413, "server_error", None, "Maximum content size limit (26214400) exceeded", Verdict.CALLER),
        (400, "invalid_request_error", None, "Invalid file format.", Verdict.CALLER),
        (400, "invalid_request_error", "invalid_value", "audio duration is longer than 1400 seconds", Verdict.CALLER),
        (429, "requests", "rate_limit_exceeded", "Rate limit reached", Verdict.BUSY),
        (429, "tokens", "rate_limit_exceeded", "Rate limit reached", Verdict.BUSY),
        (429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota", Verdict.EXHAUSTED),
        (500, "server_error", None, "The server had an error", Verdict.FAILED),
        (503, "server_error", None, "The engine is currently overloaded", Verdict.FAILED),
    ],
)
def test_every_known_error_has_its_meaning(
    status: int, type_: str, code: str | None, message: str, expected: Verdict
) -> None:
    body = {"error": {"message": message, "type": type_, "param": None, "code": code}}
    found = judge(KIND, status=status, body=json.dumps(body).encode())
    assert found.verdict is expected
    assert (found.type, found.code) == (type_, code)


def test_it_can_do_everything_and_hides_nothing() -> None:
    assert KINDS["openai"] is KIND
    assert not KIND.hides_errors
    assert KIND.can.stream
    assert KIND.can.chunked
    assert KIND.can.containers is None
    assert "diarized_json" in KIND.can.formats


def test_every_kind_is_found_by_its_own_name() -> None:
    assert {name: kind.name for name, kind in KINDS.items()} == {"openai": "openai", "newapi": "newapi"}
