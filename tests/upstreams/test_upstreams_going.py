from gateway.audio.request import Layout
from gateway.upstreams.base import Capabilities, Kind, Upstream
from gateway.upstreams.going import PASSED_ON, outgoing

PLAIN = Kind("plain", Capabilities())
SECRET = "sk-upstream-secret"
UPSTREAM = Upstream("a", PLAIN, "https://host/api/v1", {"m": "*"}, PLAIN.can, key=SECRET)


def out(path: str = "/v1/audio/speech", *, query: str = "", layout: Layout | None = None, **headers: str) -> str:
    layout = layout or Layout("application/json", length=3)
    return outgoing(UPSTREAM, method="POST", path=path, query=query, headers=headers, layout=layout).url


def test_the_upstreams_own_base_stands_for_v1_and_the_query_goes_along() -> None:
    assert out() == "https://host/api/v1/audio/speech"
    assert out(query="a=1&b=%2F") == "https://host/api/v1/audio/speech?a=1&b=%2F"
    assert out("/v1/audio/voices/v1") == "https://host/api/v1/audio/voices/v1"


def test_our_key_goes_out_and_none_of_the_callers_secrets() -> None:
    sent = outgoing(
        UPSTREAM,
        method="POST",
        path="/v1/audio/speech",
        query="",
        headers={
            "authorization": "Bearer ag_caller",
            "cookie": "a=b",
            "x-api-key": "ag_caller",
            "openai-organization": "org",
            "x-forwarded-for": "10.0.0.1",
            "accept-encoding": "gzip",
            "content-type": "text/evil",
            "content-length": "9",
            "transfer-encoding": "chunked",
            "accept": "application/json",
            "openai-beta": "x=1",
        },
        layout=Layout("multipart/form-data; boundary=b", length=5),
    )
    assert sent.headers == {
        "accept": "application/json",
        "openai-beta": "x=1",
        "accept-encoding": "identity",
        "user-agent": "audiogate",
        "authorization": f"Bearer {SECRET}",
        "content-type": "multipart/form-data; boundary=b",
    }
    assert (sent.method, sent.length) == ("POST", 5)
    assert set(PASSED_ON) <= set(sent.headers)


def test_an_upstream_without_a_key_gets_none_and_a_body_without_a_type_gets_none() -> None:
    bare = Upstream("b", PLAIN, "http://host/v1", {}, PLAIN.can)
    sent = outgoing(bare, method="GET", path="/v1/audio/x", query="", headers={}, layout=Layout(None))
    assert sent.headers == {"accept-encoding": "identity", "user-agent": "audiogate"}
    assert sent.length is None
