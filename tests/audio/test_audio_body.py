import json
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audio.body import MAX_JSON, MAX_TOKENS, READERS, JsonReader, RawReader, Reader, reader_for
from gateway.audio.form import FormReader
from gateway.audio.request import ENDPOINTS, OTHER, Layout
from gateway.errors import Refused

SPEAK = ENDPOINTS["POST", "/v1/audio/speech"]
MANY = 10**9
GOOD: dict[str, object] = {"model": "tts-1", "input": "Hi", "voice": "alloy"}


def fed(body: bytes, *, content_type: str = "application/json", body_size: int | None = None) -> Reader:
    reader = reader_for(SPEAK, content_type, body_size=body_size, max_bytes=MANY, token="t")
    assert reader.feed(body) == b""
    reader.close()
    return reader


def refusal(body: bytes, *, content_type: str = "application/json") -> Refused:
    with pytest.raises(Refused) as caught:
        fed(body, content_type=content_type)
    return caught.value


def body_of(**more: object) -> bytes:
    return json.dumps({**GOOD, **more}).encode()


def test_a_speech_request_is_read_and_goes_out_as_it_came() -> None:
    body = b' {"voice":{"id":"v_1"}, "input":"h\\u00e9llo \xe4\xbd\xa0", "model":"tts-1",\n"speed":1.50}\n'
    reader = reader_for(SPEAK, "application/json; charset=utf-8", body_size=len(body), max_bytes=MANY, token="t")
    for byte in body:
        assert not reader.routable
        assert reader.feed(bytes([byte])) == b""
    reader.close()
    request = reader.request
    assert (request.model, request.response_format, request.stream, request.characters) == ("tts-1", "mp3", False, 7)
    assert reader.routable
    assert not reader.blocked
    assert (reader.file_at, reader.file_size) == (0, None)
    assert reader.layout("tts-1") == Layout("application/json", (), body, len(body))


@pytest.mark.parametrize(
    ("text", "characters"),
    [("a", 1), ("你好", 2), ("😀", 1), ("\\ud83d\\ude00", 1), ("e\\u0301", 2), ("\\u0000", 1), ("👨‍👩‍👧", 5)],
)
def test_characters_are_unicode_code_points(text: str, characters: int) -> None:
    reader = fed(f'{{"model":"m","input":"{text}"}}'.encode())
    assert reader.request.characters == characters


def test_the_format_and_the_stream_are_noted() -> None:
    reader = fed(body_of(response_format="opus", stream_format="sse"))
    assert (reader.request.response_format, reader.request.stream) == ("opus", True)
    assert not fed(body_of(stream_format="audio")).request.stream
    assert not fed(body_of(stream_format=["sse"])).request.stream
    assert not fed(body_of(stream=True)).request.stream  # not a field of this route


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["voice", "speed", "instructions", "x-extra", "é"]), json_values))
def test_another_name_for_the_model_changes_nothing_else(more: dict[str, object]) -> None:
    body = body_of(**more)
    layout = fed(body).layout('vendor/ta"s-\\1-é')
    assert layout.content_type == "application/json"
    assert layout.length == len(layout.closing)
    assert layout.splices == ()
    found = json.loads(layout.closing.decode())
    assert found == {**json.loads(body), "model": 'vendor/ta"s-\\1-é'}
    assert list(found) == list(json.loads(body))  # and in the same order
    assert [type(value) for value in found.values()] == [type(value) for value in json.loads(body).values()]


def test_each_attempt_can_have_its_own_name() -> None:
    reader = fed(body_of())
    assert json.loads(reader.layout("a").closing)["model"] == "a"
    assert json.loads(reader.layout("b").closing)["model"] == "b"
    assert reader.layout("tts-1").closing == body_of()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b'{"model":"m","input":"x"}}', "Extra data"),
        (b"[]", "not an object"),
        (b"null", "not an object"),
        (b'"model"', "not an object"),
        (b'{"model":"m","model":"m","input":"x"}', "given twice"),
        (b'{"model":"m","mod\\u0065l":"n","input":"x"}', "given twice"),
        (b'{"model":"m","input":"x","voice":{"id":1,"id":2}}', "given twice"),
        (b'{"model":"m","input":"x","speed":NaN}', "NaN is not JSON"),
        (b'{"model":"m","input":"x","speed":Infinity}', "Infinity is not JSON"),
        (b'{"model":"m","input":"x","speed":[-Infinity]}', "-Infinity is not JSON"),
        (b'{"model":"m","input":"x","speed":1e999}', "out of range"),
        (b'{"model":"m","input":"x","speed":' + b"9" * 5_000 + b"}", "more than 400 digits"),
        (b'{"model":"m","input":"x","speed":0.' + b"9" * 400 + b"}", "more than 400 digits"),
        (b'{"model":"m","input":"\\ud83d"}', "surrogates not allowed"),
        (b'{"model":"m","input":"x","\\udc00":1}', "surrogates not allowed"),
        (b'{"model":"m","input":"x\n"}', "control character"),
        (b'{"model":"m","input":"\xff"}', "codec can't decode"),
        (b'\xef\xbb\xbf{"model":"m","input":"x"}', "BOM"),
        ('{"model":"m","input":"x"}'.encode("utf-16"), "codec can't decode"),
        ('{"model":"m","input":"x"}'.encode("utf-16-le"), "Expecting property name"),
        ('{"model":"m","input":"x"}'.encode("utf-32"), "codec can't decode"),
        (b"model=m&input=x", "Expecting value"),
    ],
)
def test_what_parsers_disagree_on_is_refused(body: bytes, why: str) -> None:
    found = refusal(body)
    assert (found.name, found.row.status, found.row.code) == ("bad_json", 400, "invalid_json")
    assert why in found.message


def started(inner: bytes) -> bytes:
    return b'{"model":"m","input":"x","z":' + inner + b"}"


def listed(item: bytes, times: int) -> bytes:
    return started(b"[" + item * times + b"0]")


def test_an_object_may_have_so_many_strings_commas_and_brackets() -> None:
    most = MAX_TOKENS - 9  # five strings, two commas and two brackets beside
    assert fed(listed(b"0,", most)).routable
    found = refusal(listed(b"0,", most + 1))
    assert (found.name, found.row.status) == ("bad_json", 400)
    assert f"more than {MAX_TOKENS} strings" in found.message


def test_what_looks_like_structure_within_a_text_counts_as_nothing() -> None:
    assert fed(body_of(input=',[{"\\' * 50_000)).request.characters == 250_000
    assert fed(body_of(input='"' * 100_000 + "\\")).request.characters == 100_001


@pytest.mark.parametrize(
    "body",
    [
        listed(b"[],", 340_000),
        listed(b'{"a":[]},', 110_000),
        listed(b"[" * 60 + b"]" * 60 + b",", 8_600),
        listed(b'"",', 340_000),
        listed(b"1e1,", 260_000),
        listed(b"9" * 4_300 + b",", 240),
        b'{"a":"' + b',\\"' * 340_000,
        b'{"a":"' + b'\\"' * 500_000 + b"\\",
        b'"",' * 340_000,
    ],
)
def test_a_megabyte_of_structure_is_refused_in_little_time(body: bytes) -> None:
    assert MAX_JSON * 0.9 < len(body) <= MAX_JSON
    best = 9.0
    for _ in range(3):
        began = process_time()
        assert refusal(body).name == "bad_json"
        best = min(best, process_time() - began)
    assert best < 0.15


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_ten_thousand_levels_are_refused(opening: bytes) -> None:
    closing = {b"[": b"]", b'{"a":': b"}"}[opening]
    for inner in (opening * 10_000, opening * 10_000 + b"1" + closing * 10_000):
        found = refusal(b'{"model":"m","input":"x","z":' + inner + b"}")
        assert found.name == "bad_json"
        assert len(found.message) < 400


def test_what_was_let_pass_can_be_written_whatever_the_stack() -> None:
    for depth in range(1, 1_200):
        try:
            reader = fed(b'{"model":"m","input":"x","z":' + b"[" * depth + b"]" * depth + b"}")
        except Refused:
            break
    assert _below(150, reader)


def _below(levels: int, reader: Reader) -> bool:
    if levels:
        return _below(levels - 1, reader)
    try:
        reader.layout("another")
    except RecursionError:
        return False
    return True


@pytest.mark.parametrize("twin", ["Model", "MODEL", "Input"])
def test_a_key_that_differs_only_by_case_is_given_twice(twin: str) -> None:
    assert refusal(body_of(**{twin: "tts-1-hd"})).name == "bad_json"


@pytest.mark.parametrize(
    ("body", "name", "param"),
    [
        (b"{}", "missing", "model"),
        (b'{"input":"x"}', "missing", "model"),
        (b'{"model":"m"}', "missing", "input"),
        (b'{"model":null,"input":"x"}', "missing", "model"),
        (b'{"model":"","input":"x"}', "missing", "model"),
        (b'{"model":"m","input":""}', "missing", "input"),
        (b'{"model":7,"input":"x"}', "invalid", "model"),
        (b'{"model":["m"],"input":"x"}', "invalid", "model"),
        (b'{"model":false,"input":"x"}', "invalid", "model"),
        (b'{"model":"m","input":{"a":1}}', "invalid", "input"),
        (b'{"model":"m","input":0}', "invalid", "input"),
        (b'{"model":"m","input":"x","response_format":"ogg"}', "invalid", "response_format"),
        (b'{"model":"m","input":"x","response_format":"MP3"}', "invalid", "response_format"),
        (b'{"model":"m","input":"x","response_format":1}', "invalid", "response_format"),
        (b'{"model":"m","input":"x","response_format":["mp3"]}', "invalid", "response_format"),
        (b'{"model":"m","input":"x","response_format":{"type":"mp3"}}', "invalid", "response_format"),
    ],
)
def test_fields_that_are_missing_or_wrong_are_named(body: bytes, name: str, param: str) -> None:
    found = refusal(body)
    assert (found.name, found.param, found.row.status) == (name, param, 400)
    assert param in found.message


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "multipart/form-data; boundary=b", "application/x-www-form-urlencoded"]
)
def test_another_content_type_is_a_400(kind: str) -> None:
    found = refusal(body_of(), content_type=kind)
    assert (found.name, found.row.status) == ("bad_content_type", 400)
    assert "Expected Content-Type application/json, got" in found.message


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON;charset=UTF-8", " application/json "])
def test_json_may_be_written_in_any_case(kind: str) -> None:
    assert fed(body_of(), content_type=kind).routable


def test_a_body_that_is_declared_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(Refused) as caught:
        reader_for(SPEAK, "application/json", body_size=50 * 1024 * 1024, max_bytes=MANY, token="t")
    assert (caught.value.name, caught.value.row.status) == ("too_large", 413)
    assert str(50 * 1024 * 1024) in caught.value.message


@pytest.mark.parametrize(("cap", "limit"), [(MANY, MAX_JSON), (1_000, 1_000)])
def test_a_body_that_grows_too_large_is_refused_at_that_byte(cap: int, limit: int) -> None:
    reader = reader_for(SPEAK, "application/json", body_size=None, max_bytes=cap, token="t")
    reader.feed(b" " * limit)
    with pytest.raises(Refused) as caught:
        reader.feed(b"x")
    assert caught.value.name == "too_large"


def test_a_body_of_exactly_the_cap_is_read() -> None:
    body = body_of().ljust(MAX_JSON)
    assert fed(body, body_size=MAX_JSON).layout("tts-1").length == MAX_JSON


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_other_body_is_kept_and_passed_on_byte_by_byte(pieces: list[bytes]) -> None:
    reader = reader_for(OTHER, "multipart/form-data; boundary=x", body_size=None, max_bytes=MANY, token="t")
    assert reader.routable
    assert not reader.blocked
    assert reader.layout("m").length is None
    assert b"".join(reader.feed(piece) for piece in pieces) == b"".join(pieces)
    reader.close()
    assert reader.layout("m") == Layout("multipart/form-data; boundary=x", length=len(b"".join(pieces)))
    assert (reader.file_at, reader.file_size) == (0, None)


def test_any_other_body_has_the_length_it_was_declared_with() -> None:
    reader = reader_for(OTHER, "", body_size=5, max_bytes=MANY, token="t")
    assert reader.layout("m") == Layout(None, length=5)
    assert reader.request.endpoint is OTHER


def test_every_endpoint_has_its_reader() -> None:
    assert {"form": FormReader, "json": JsonReader, "raw": RawReader} == READERS
    assert {endpoint.reader for endpoint in (*ENDPOINTS.values(), OTHER)} == set(READERS)
