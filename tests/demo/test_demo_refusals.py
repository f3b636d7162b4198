"""What the demo upstream refuses, in OpenAI's envelope."""

import httpx2
import openai
import pytest

Clip = tuple[str, bytes]


def assert_envelope(answer: httpx2.Response, status: int, *, param: str | None, code: str | None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["param"], error["code"]) == (param, code)
    assert error["type"] == "invalid_request_error"
    assert isinstance(error["message"], str)


@pytest.mark.parametrize(
    ("header", "code"),
    [(None, None), ("Basic x", None), ("Bearer", None), ("Bearer sk-wrong", "invalid_api_key")],
)
def test_a_wrong_key_is_refused(upstream: str, header: str | None, code: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    answer = httpx2.post(f"{upstream}/v1/audio/speech", json={}, headers=headers)
    assert_envelope(answer, 401, param=None, code=code)


def test_health_needs_no_key(upstream: str) -> None:
    assert httpx2.get(f"{upstream}/healthz").json()["status"] == "ok"


def test_unknown_paths_and_methods_are_told(http: httpx2.Client) -> None:
    assert_envelope(http.post("/v1/nowhere"), 404, param=None, code=None)
    assert_envelope(http.get("/v1/audio/speech"), 405, param=None, code=None)


@pytest.mark.parametrize(
    ("fields", "status", "param", "code"),
    [
        ({}, 400, "model", "missing_required_parameter"),
        ({"model": "whisper-9"}, 404, "model", "model_not_found"),
        ({"model": "tts-1"}, 404, "model", "model_not_found"),
        ({"model": "gpt-4o-transcribe", "response_format": "srt"}, 400, "response_format", "unsupported_value"),
        ({"model": "whisper-1", "response_format": "diarized_json"}, 400, "response_format", "unsupported_value"),
        ({"model": "whisper-1", "temperature": "warm"}, 400, "temperature", "invalid_value"),
        ({"model": "whisper-1", "temperature": "2"}, 400, "temperature", "invalid_value"),
        (
            {"model": "whisper-1", "timestamp_granularities[]": "word"},
            400,
            "timestamp_granularities",
            "invalid_value",
        ),
        (
            {"model": "whisper-1", "timestamp_granularities[]": "letter", "response_format": "verbose_json"},
            400,
            "timestamp_granularities",
            "invalid_value",
        ),
    ],
)
def test_bad_fields_are_told(
    http: httpx2.Client, clip: Clip, fields: dict[str, str], status: int, param: str, code: str
) -> None:
    answer = http.post("/v1/audio/transcriptions", data=fields, files={"file": clip})
    assert_envelope(answer, status, param=param, code=code)


def test_a_missing_file_is_told(http: httpx2.Client) -> None:
    answer = http.post("/v1/audio/transcriptions", data={"model": "whisper-1"})
    assert_envelope(answer, 400, param="file", code="missing_required_parameter")


def test_a_file_without_sound_is_told(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="corrupted or unsupported") as refused:
        sdk.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"no sound at all"))
    assert refused.value.code == "invalid_value"


def test_a_broken_form_is_told(http: httpx2.Client) -> None:
    answer = http.post(
        "/v1/audio/transcriptions",
        content=b"--x\r\nnonsense",
        headers={"content-type": "multipart/form-data; boundary=y"},
    )
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_translations_are_whispers_alone(http: httpx2.Client, clip: Clip) -> None:
    answer = http.post("/v1/audio/translations", data={"model": "gpt-4o-transcribe"}, files={"file": clip})
    assert_envelope(answer, 404, param="model", code="model_not_found")


@pytest.mark.parametrize(
    ("change", "status", "param", "code"),
    [
        ({"model": None}, 400, "model", "missing_required_parameter"),
        ({"model": "whisper-1"}, 404, "model", "model_not_found"),
        ({"model": ["tts-1"]}, 404, "model", "model_not_found"),
        ({"input": None}, 400, "input", "missing_required_parameter"),
        ({"input": " \n"}, 400, "input", "invalid_value"),
        ({"input": 7}, 400, "input", "invalid_value"),
        ({"input": "a" * 4097}, 400, "input", None),
        ({"voice": None}, 400, "voice", "missing_required_parameter"),
        ({"voice": "caruso"}, 400, "voice", "invalid_value"),
        ({"response_format": "midi"}, 400, "response_format", "invalid_value"),
        ({"response_format": ["mp3"]}, 400, "response_format", "invalid_value"),
        ({"speed": 4.1}, 400, "speed", "invalid_value"),
        ({"speed": "fast"}, 400, "speed", "invalid_value"),
        ({"stream_format": "sse"}, 400, "stream_format", "invalid_value"),
    ],
)
def test_bad_speech_is_told(
    http: httpx2.Client, change: dict[str, object], status: int, param: str, code: str | None
) -> None:
    asked = {"model": "tts-1", "voice": "alloy", "input": "Hello.", **change}
    assert_envelope(http.post("/v1/audio/speech", json=asked), status, param=param, code=code)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_speech_that_is_no_json_object_is_told(http: httpx2.Client, body: bytes) -> None:
    assert_envelope(http.post("/v1/audio/speech", content=body), 400, param=None, code=None)
