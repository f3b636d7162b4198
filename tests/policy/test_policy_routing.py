import random
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audio.container import MP3, WEBM
from gateway.audio.request import ENDPOINTS, OTHER, AudioRequest, Endpoint
from gateway.errors import Refused
from gateway.policy.keys import Caller
from gateway.policy.picking import GOOD, Outlook
from gateway.policy.pricing import FREE, Price
from gateway.policy.routing import (
    ANY_AUDIO,
    DRAINED,
    REMEMBERED,
    Candidate,
    Market,
    bad_format,
    busy,
    closed,
    fits,
    models_for,
    plan,
    undrained,
)
from gateway.upstreams.base import Capabilities, Kind, Upstream

SPEAK = ENDPOINTS["POST", "/v1/audio/speech"]
TRANSCRIBE = ENDPOINTS["POST", "/v1/audio/transcriptions"]
TRANSLATE = ENDPOINTS["POST", "/v1/audio/translations"]
ALL = Capabilities()
KIND = Kind("any", ALL)
WHISPER = AudioRequest(TRANSCRIBE, model="whisper-1", response_format="json")
PRICE = Price(per_minute=Decimal("0.006"))


def up(
    name: str,
    *,
    models: Mapping[str, str] | None = None,
    can: Capabilities = ALL,
    priority: int = 1,
    weight: int = 1,
) -> Upstream:
    return Upstream(
        name, KIND, f"http://{name}/v1", models or {"whisper-1": "*"}, can, priority=priority, weight=weight
    )


def market(*upstreams: Upstream, prices: Mapping[str, Price] | None = None) -> Market:
    return Market(upstreams, {one.name: prices if prices is not None else {"*": PRICE} for one in upstreams})


def caller(**more: object) -> Caller:
    return Caller(**{"kid": "k", "name": "ann", "team": "red", "digest": "d", **more})  # type: ignore[arg-type]


def names(
    offer: Market,
    *,
    request: AudioRequest = WHISPER,
    who: Caller | None = None,
    unhealthy: tuple[str, ...] = (),
    draw: float = 0.5,
    known: Mapping[str, Outlook] | None = None,
) -> list[str]:
    def outlook(candidate: Candidate) -> Outlook:
        name = candidate.upstream.name
        return (known or {}).get(name) or Outlook(shut=name in unhealthy)

    found = plan(request, who or caller(), offer, outlook=outlook, draw=lambda: draw)
    return [candidate.upstream.name for candidate in found]


def refusal(offer: Market, *, request: AudioRequest = WHISPER, who: Caller | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        names(offer, request=request, who=who)
    return caught.value


def test_a_candidate_has_the_upstreams_name_for_the_model_and_the_callers_price() -> None:
    one = up("a", models={"whisper-1": "big"})
    (found,) = plan(
        WHISPER, caller(), market(one, prices={"whisper-1": PRICE}), outlook=lambda _: GOOD, draw=lambda: 0.5
    )
    assert found == Candidate(one, "big", PRICE)


def test_what_was_found_for_a_model_is_remembered_though_not_for_any_number_of_them() -> None:
    offer = market(up("a", models={"*": "*"}))
    first = offer.candidates("model-0")
    assert offer.candidates("model-0") is first
    for number in range(REMEMBERED + 1):
        (found,) = offer.candidates(f"model-{number}")
        assert found.model == f"model-{number}"
    assert offer.candidates("model-0") == first
    assert offer.candidates("model-0") is not first


@pytest.mark.parametrize("order", list(permutations("abc")))
def test_the_keys_list_is_the_order_whatever_priority_and_draw_say(order: tuple[str, ...]) -> None:
    offer = market(up("a", priority=9), up("b", priority=1), up("c", priority=5), up("d"))
    for draw in (0.0, 0.5, 0.999):
        assert names(offer, who=caller(upstreams=order), draw=draw) == list(order)


def test_the_teams_list_is_a_filter_and_no_order() -> None:
    offer = market(up("a", priority=3), up("b", priority=2), up("c", priority=1))
    assert names(offer, who=caller(team_upstreams=("a", "b"))) == ["b", "a"]
    assert names(offer, who=caller(upstreams=("a", "b", "c"), team_upstreams=("c", "a"))) == ["a", "c"]


def test_a_key_may_list_upstreams_that_are_not_there() -> None:
    assert names(market(up("b"), up("a")), who=caller(upstreams=("gone", "a", "b"))) == ["a", "b"]


def test_lower_priority_goes_first_whatever_is_drawn() -> None:
    dice = random.Random(1)
    offer = market(up("c", priority=3, weight=1_000), up("b", priority=2), up("a", priority=1))
    for _ in range(200):
        found = plan(WHISPER, caller(), offer, outlook=lambda _: GOOD, draw=dice.random)
        assert [one.upstream.name for one in found] == ["a", "b", "c"]


def test_within_a_priority_requests_are_shared_out_by_weight() -> None:
    dice = random.Random(20)
    offer = market(up("a", weight=1), up("b", weight=3), up("c", weight=6), up("z", priority=2, weight=100))
    rounds = 20_000
    orders = [
        tuple(one.upstream.name for one in plan(WHISPER, caller(), offer, outlook=lambda _: GOOD, draw=dice.random))
        for _ in range(rounds)
    ]
    first = Counter(order[0] for order in orders)
    for name, share in (("a", 0.1), ("b", 0.3), ("c", 0.6)):
        assert abs(first[name] / rounds - share) < 0.015
    # Without c, what is left is shared 1 : 3 again.
    after_c = Counter(order[1] for order in orders if order[0] == "c")
    assert abs(after_c["b"] / (after_c["a"] + after_c["b"]) - 0.75) < 0.02
    assert {order[3] for order in orders} == {"z"}


@pytest.mark.parametrize("draw", [0.0, 5e-324, 0.9999999999999999])
def test_the_edges_of_a_draw_are_survived(draw: float) -> None:
    assert sorted(names(market(up("a", weight=10**6), up("b")), draw=draw)) == ["a", "b"]


@given(st.sets(st.sampled_from("abcd")), st.permutations("abcd"))
def test_unhealthy_upstreams_go_last_and_none_is_dropped(unhealthy: set[str], order: list[str]) -> None:
    offer = market(*(up(name) for name in "abcd"))
    found = names(offer, who=caller(upstreams=tuple(order)), unhealthy=tuple(unhealthy))
    assert found == [n for n in order if n not in unhealthy] + [n for n in order if n in unhealthy]


def test_who_said_when_to_come_again_and_who_is_full_is_not_asked() -> None:
    offer = market(up("a", priority=1), up("b", priority=2), up("c", priority=3))
    assert names(offer, known={"a": Outlook(wait=3.0), "b": Outlook(full=True)}) == ["c"]


def test_when_all_said_when_to_come_again_the_caller_is_told_the_first_of_them() -> None:
    offer = market(up("a"), up("b"))
    with pytest.raises(Refused) as caught:
        names(offer, known={"a": Outlook(wait=7.5), "b": Outlook(wait=70.0)})
    assert (caught.value.name, caught.value.retry_after) == ("upstream_busy", 7.5)
    assert caught.value.message.endswith("in 8s.")


def test_when_one_is_full_and_the_others_wait_it_is_over_soon() -> None:
    offer = market(up("a"), up("b"))
    with pytest.raises(Refused) as caught:
        names(offer, known={"a": Outlook(wait=7.5), "b": Outlook(full=True)})
    assert (caught.value.name, caught.value.retry_after, caught.value.row.status) == ("overloaded", 1, 503)


def test_one_that_is_drained_is_not_asked() -> None:
    offer = market(up("a"), up("b", priority=2))
    assert names(offer, known={"a": Outlook(drained=True)}) == ["b"]
    assert names(offer, known={"a": Outlook(drained=True), "b": Outlook(shut=True)}) == ["b"]


def test_when_all_are_drained_the_caller_is_told_so() -> None:
    with pytest.raises(Refused) as caught:
        names(market(up("a"), up("b")), known=dict.fromkeys("ab", Outlook(drained=True, full=True, wait=9.0)))
    assert (caught.value.name, caught.value.retry_after) == ("drained", DRAINED)
    assert (caught.value.row.status, caught.value.row.code) == (503, "upstreams_drained")
    assert "`audiogate upstreams undrain`" in caught.value.message
    assert caught.value.message.endswith("in 30s.")


@pytest.mark.parametrize(
    ("other", "name"), [(Outlook(full=True), "overloaded"), (Outlook(wait=5.0), "upstream_busy"), (GOOD, "overloaded")]
)
def test_where_some_are_drained_the_others_count(other: Outlook, name: str) -> None:
    assert closed([Outlook(drained=True), other]).name == name
    assert closed([Outlook(drained=True), Outlook(drained=True, wait=1.0)]).name == "drained"


def test_those_that_are_left_may_be_drained_meanwhile() -> None:
    found = plan(WHISPER, caller(), market(up("a"), up("b")), outlook=lambda _: GOOD, draw=lambda: 0.5)
    left = undrained(found, lambda one: Outlook(drained=one.upstream.name == "a"))
    assert [one.upstream.name for one in left] == ["b"]


def test_nobody_is_told_to_come_back_sooner_than_in_a_second() -> None:
    assert busy(0.01).retry_after == 1.0


def test_the_one_that_costs_less_time_goes_first() -> None:
    offer = market(up("a"), up("b"))
    known = {"a": Outlook(pace=0.1, under_way=3), "b": Outlook(pace=0.3)}
    for draw in (0.0, 0.999):
        assert names(offer, known=known, draw=draw) == ["b", "a"]


def test_an_upstream_that_reads_the_container_and_streams_is_preferred_but_not_required() -> None:
    no_webm = Capabilities(containers=frozenset({"mp3"}))
    no_stream = Capabilities(stream=False)
    offer = market(up("a", can=no_webm), up("b", can=no_stream), up("c", priority=2))
    assert names(offer, request=AudioRequest(TRANSCRIBE, "whisper-1", "json", container=WEBM)) == ["b", "c", "a"]
    assert names(offer, request=AudioRequest(TRANSCRIBE, "whisper-1", "json", stream=True)) == ["a", "c", "b"]
    assert names(offer, request=AudioRequest(TRANSCRIBE, "whisper-1", "json", container=MP3))[2] == "c"
    assert names(market(up("a", can=no_webm)), request=AudioRequest(TRANSCRIBE, "whisper-1", "json", container=WEBM))


def test_health_counts_more_than_what_suits() -> None:
    offer = market(up("a", can=Capabilities(stream=False)), up("b"))
    streamed = AudioRequest(TRANSCRIBE, "whisper-1", "json", stream=True)
    assert names(offer, request=streamed, unhealthy=("b",)) == ["a", "b"]


def test_a_key_cannot_ask_for_what_suits_less_by_listing_it_first() -> None:
    offer = market(up("a", can=Capabilities(stream=False)), up("b"))
    streamed = AudioRequest(TRANSCRIBE, "whisper-1", "json", stream=True)
    assert names(offer, request=streamed, who=caller(upstreams=("a", "b"))) == ["b", "a"]


def test_streamed_speech_does_not_need_streamed_transcripts() -> None:
    offer = market(up("a", models={"tts-1": "*"}, can=Capabilities(stream=False)), up("b", models={"tts-1": "*"}))
    request = AudioRequest(SPEAK, "tts-1", "mp3", stream=True)
    assert names(offer, request=request, who=caller(upstreams=("a", "b"))) == ["a", "b"]


def test_upstreams_without_the_format_are_left_out() -> None:
    offer = market(up("a", can=Capabilities(formats=frozenset({"json"}))), up("b"))
    assert names(offer, request=AudioRequest(TRANSCRIBE, "whisper-1", "srt")) == ["b"]
    assert len(names(offer)) == 2


def test_upstreams_without_the_route_are_left_out() -> None:
    no_translations = Capabilities(routes=frozenset({"transcription"}))
    offer = market(up("a", can=no_translations), up("b"))
    assert names(offer, request=AudioRequest(TRANSLATE, "whisper-1", "json")) == ["b"]


def test_speech_formats_are_not_held_against_the_formats_of_transcripts() -> None:
    assert fits(up("a", can=Capabilities(formats=frozenset())), AudioRequest(SPEAK, "tts-1", "opus"))
    assert not fits(up("a", can=Capabilities(formats=frozenset())), WHISPER)
    assert not fits(up("a", can=Capabilities(routes=frozenset())), AudioRequest(OTHER))


def test_a_format_nobody_gives_is_a_400_that_names_what_there_is() -> None:
    offer = market(
        up("a", can=Capabilities(formats=frozenset({"json", "text"}))),
        up("b", can=Capabilities(formats=frozenset({"srt", "json"}))),
    )
    found = refusal(offer, request=AudioRequest(TRANSCRIBE, "whisper-1", "diarized_json"))
    assert (found.row.status, found.row.code, found.envelope()["error"]["param"]) == (
        400,
        "unsupported_value",
        "response_format",
    )
    assert found.message == (
        "response_format 'diarized_json' is not compatible with model 'whisper-1'. "
        "Use 'json' or 'text' or 'srt' instead."
    )


def test_formats_of_upstreams_that_the_key_may_not_use_are_not_offered() -> None:
    offer = market(up("a", can=Capabilities(formats=frozenset({"json"}))), up("b"))
    found = refusal(offer, request=AudioRequest(TRANSCRIBE, "whisper-1", "srt"), who=caller(upstreams=("a",)))
    assert found.message.endswith("Use 'json' instead.")


def test_a_route_nobody_has_is_no_question_of_format() -> None:
    offer = market(up("a", can=Capabilities(routes=frozenset())))
    assert refusal(offer).name == "no_upstream"
    speech = AudioRequest(SPEAK, "whisper-1", "mp3")
    assert refusal(offer, request=speech).name == "no_upstream"


def test_the_formats_offered_are_those_of_upstreams_that_have_the_route() -> None:
    speaks = up("speaks", can=Capabilities(routes=frozenset({"speech"})))
    offer = market(speaks, up("a", can=Capabilities(formats=frozenset({"json"}))))
    found = refusal(offer, request=AudioRequest(TRANSCRIBE, "whisper-1", "srt"))
    assert (found.name, found.row.status) == ("bad_format", 400)


def test_where_no_format_is_left_none_is_recommended() -> None:
    found = bad_format(AudioRequest(TRANSLATE, "m", "json"), [up("a", can=Capabilities(formats=frozenset()))])
    assert "Use  instead" not in str(found)


@pytest.mark.parametrize(
    ("request_", "who"),
    [
        (AudioRequest(TRANSCRIBE, "nope", "json"), caller()),
        (AudioRequest(TRANSCRIBE, '"whisper-1"', "json"), caller()),
        (AudioRequest(TRANSCRIBE, "WHISPER-1", "json"), caller()),
        (AudioRequest(TRANSCRIBE, None, "json"), caller()),
        (WHISPER, caller(models=(("tts-*",),))),
    ],
)
def test_a_model_that_is_not_there_and_one_that_is_not_allowed_look_the_same(
    request_: AudioRequest, who: Caller
) -> None:
    found = refusal(market(up("a")), request=request_, who=who)
    assert (found.row.status, found.row.code) == (404, "model_not_found")
    assert found.envelope()["error"]["param"] == "model"
    assert f"`{request_.model}`" in found.message


def test_a_model_without_a_price_is_not_served() -> None:
    assert refusal(market(up("a"), prices={"tts-*": PRICE})).name == "no_model"
    offer = Market((up("a"), up("b")), {"a": {}, "b": {"whisper-*": FREE}})
    assert names(offer) == ["b"]


def test_a_key_that_may_use_no_upstream_of_the_model_gets_a_403() -> None:
    found = refusal(market(up("a"), up("b", models={"tts-1": "*"})), who=caller(upstreams=("b",)))
    assert (found.row.status, found.name) == (403, "no_upstream")
    assert refusal(market(up("a")), who=caller(upstreams=())).row.status == 403
    assert refusal(market(up("a")), who=caller(team_upstreams=("b",))).row.status == 403


def test_requests_without_a_model_need_a_price_for_them() -> None:
    other = AudioRequest(OTHER)
    assert refusal(market(up("a"), prices={"whisper-1": PRICE}), request=other).row.status == 403
    offer = market(up("a"), prices={ANY_AUDIO: PRICE})
    (found,) = plan(other, caller(models=(("tts-*",),)), offer, outlook=lambda _: GOOD, draw=lambda: 0.5)
    assert (found.model, found.price) == ("", PRICE)


def test_globs_serve_under_the_callers_or_another_name() -> None:
    one = up("a", models={"gpt-*": "*", "whisper-?": "large-v3", "gpt-4o-transcribe": "mini"})
    sent = {name: one.sent_model(name) for name in ("gpt-x", "whisper-1", "gpt-4o-transcribe", "whisper-10", "tts-1")}
    assert sent == {
        "gpt-x": "gpt-x",
        "whisper-1": "large-v3",
        "gpt-4o-transcribe": "mini",
        "whisper-10": None,
        "tts-1": None,
    }


def test_the_list_of_models_has_what_the_caller_may_name_once_in_order_and_no_globs() -> None:
    offer = market(
        up("a", models={"whisper-1": "*", "gpt-*": "*", "tts-[12]": "*", "tts-?": "x"}),
        up("b", models={"tts-1": "*", "whisper-1": "big"}),
        up("c", models={"secret": "*"}),
    )
    assert models_for(caller(), offer) == ("whisper-1", "tts-1", "secret")
    assert models_for(caller(upstreams=("b",)), offer) == ("tts-1", "whisper-1")
    assert models_for(caller(models=(("tts-*", "secret"), ("*-1",))), offer) == ("tts-1",)
    assert models_for(caller(upstreams=()), offer) == ()


@pytest.mark.parametrize("endpoint", [TRANSCRIBE, TRANSLATE, SPEAK])
def test_every_endpoint_with_a_model_can_be_planned(endpoint: Endpoint) -> None:
    assert names(market(up("a")), request=AudioRequest(endpoint, "whisper-1", endpoint.default_format)) == ["a"]
