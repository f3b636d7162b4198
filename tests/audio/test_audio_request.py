import pytest

from gateway.audio.request import (
    ENDPOINTS,
    FORMATS,
    LONGEST_MODEL,
    OTHER,
    PREFIX,
    READ,
    ROUTES,
    AudioRequest,
    Layout,
    endpoint_for,
    with_field,
)
from gateway.errors import Refused


@pytest.mark.parametrize(
    ("path", "name", "reader"),
    [
        ("transcriptions", "transcription", "form"),
        ("translations", "translation", "form"),
        ("speech", "speech", "json"),
        ("voices", "other", "raw"),
        ("voice_consents", "other", "raw"),
        ("voices/voice_1.2~3:4@5", "other", "raw"),
    ],
)
def test_each_route_has_its_row_and_the_rest_is_passed_through(path: str, name: str, reader: str) -> None:
    found = endpoint_for("POST", PREFIX + path)
    assert (found.name, found.reader) == (name, reader)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "post", ""])
def test_a_known_path_with_another_method_is_passed_through(method: str) -> None:
    assert endpoint_for(method, "/v1/audio/transcriptions") is OTHER


@pytest.mark.parametrize(
    "path",
    [
        "/v1/audio/../chat/completions",
        "/v1/audio/./transcriptions",
        "/v1/audio/x/..",
        "/v1/audio/...",
        "/v1/audio//transcriptions",
        "/v1/audio/%2e%2e/chat/completions",
        "/v1/audio/%2E./chat",
        "/v1/audio/transcription%73",
        "/v1/audio/..%2fchat",
        "/v1/audio/transcriptions%3Fa",
        "/v1/audio/transcriptions?a",
        "/v1/audio/transcriptions#a",
        "/v1/audio/a b",
        "/v1/audio/a\\b",
        "/v1/audio/a\r\nX: y",
        "/v1/audio/a\n",
        "/v1/audio/a\x00",
        "/v1/audio/é",
        "/v1/audio/",
        "/v1/audio//",
        "/v1/audio/a//",
    ],
)
def test_a_path_that_an_upstream_might_read_as_another_is_refused(path: str) -> None:
    with pytest.raises(Refused) as caught:
        endpoint_for("POST", path)
    assert (caught.value.name, caught.value.row.status) == ("no_route", 404)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/audio/transcriptions/",  # optional slash at the end
        "/v1/audio/Transcriptions",  # routes that ignore case
        "/v1/audio/transcriptions;a=1",  # path parameters
        "/v1/audio/speech/",
    ],
)
def test_a_known_route_in_disguise_is_not_passed_through(path: str) -> None:
    try:
        found = endpoint_for("POST", path)
    except Refused:
        return
    assert found is not OTHER


@pytest.mark.parametrize("path", ["/v1/audio/speech/;a=1", "/v1/audio/;a=1/speech"])
def test_a_known_route_in_two_disguises_is_not_passed_through(path: str) -> None:
    with pytest.raises(Refused):
        endpoint_for("POST", path)


def test_the_formats_of_the_api_are_all_there() -> None:
    rows = {endpoint.name: endpoint for endpoint in ENDPOINTS.values()}
    assert rows["transcription"].formats == ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
    assert rows["translation"].formats == ("json", "text", "srt", "verbose_json", "vtt")
    assert rows["speech"].formats == ("mp3", "opus", "aac", "flac", "wav", "pcm")
    assert all(endpoint.default_format in endpoint.formats for endpoint in rows.values())
    assert set(FORMATS) == {value for endpoint in rows.values() for value in endpoint.formats}
    assert ROUTES == ("transcription", "translation", "speech", "other")


def test_a_request_of_which_nothing_is_known_asks_for_nothing() -> None:
    request = AudioRequest(OTHER)
    assert (request.model, request.stream, request.seconds, request.characters) == (None, False, 0.0, 0)
    assert Layout(None).length is None


TRANSCRIPTION = AudioRequest(ENDPOINTS["POST", "/v1/audio/transcriptions"], response_format="json")


def test_the_fields_that_are_read_fill_in_the_request() -> None:
    request = TRANSCRIPTION
    for name, value in (("model", b"whisper-1"), ("stream", b" True "), ("response_format", b"srt"), ("x", b"\xff")):
        request = with_field(request, name, value)
    assert (request.model, request.stream, request.response_format) == ("whisper-1", True, "srt")
    assert with_field(request, "language", b"de") is request


@pytest.mark.parametrize("value", [b"false", b"0", b"no", b"2", b"null"])
def test_what_is_not_true_does_not_stream(value: bytes) -> None:
    assert not with_field(TRANSCRIPTION, "stream", value).stream


@pytest.mark.parametrize("name", sorted(READ))
def test_fields_that_are_read_must_be_text(name: str) -> None:
    with pytest.raises(Refused) as caught:
        with_field(TRANSCRIPTION, name, b"\xff")
    assert (caught.value.name, caught.value.param) == ("invalid", name)


@pytest.mark.parametrize("value", ["", "JSON", "json\n", "mp3", "x" * 10_000])
def test_a_format_that_is_not_the_routes_is_named_in_short(value: str) -> None:
    with pytest.raises(Refused) as caught:
        with_field(TRANSCRIPTION, "response_format", value.encode())
    assert caught.value.param == "response_format"
    assert f"'{value[:40]}' is none of json, text" in caught.value.message
    assert len(caught.value.message) < 200


def test_a_model_name_that_no_model_has_is_refused() -> None:
    request = AudioRequest(ENDPOINTS[("POST", "/v1/audio/transcriptions")])
    assert with_field(request, "model", b"m" * LONGEST_MODEL).model == "m" * LONGEST_MODEL
    with pytest.raises(Refused) as caught:
        with_field(request, "model", b"m" * (LONGEST_MODEL + 1))
    assert (caught.value.param, caught.value.row.status) == ("model", 400)
