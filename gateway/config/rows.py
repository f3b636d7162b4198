"""What may stand under an upstream, and what other sections have in common with it: limits and prices."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gateway.audio.container import CONTAINERS
from gateway.audio.request import ENDPOINTS, ROUTES
from gateway.config import values
from gateway.config.forms import FreeOr, NamesOrMap, nothing_is_empty, nothing_is_none_of_them
from gateway.config.scalars import one_of, whole_number
from gateway.policy.limits import MEASURES, PERIODS
from gateway.upstreams import KINDS

# Only transcripts are held against `formats`; speech comes in whatever format the upstream gives.
TRANSCRIPTS = tuple(
    dict.fromkeys(value for route in ENDPOINTS.values() if route.reader == "form" for value in route.formats)
)

Name = Annotated[str, values.NAME]
Model = Annotated[str, values.MODEL]
Seconds = Annotated[float, values.SECONDS]
Usd = Annotated[Decimal, values.PRICE]
EMPTY = BeforeValidator(nothing_is_empty)


class Row(BaseModel):
    """A mapping of the file: no unknown keys, frozen; nothing behind its name is the same as an empty one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_empty(cls, value: object) -> object:
        return nothing_is_empty(value)


class LimitRow(Row):
    """At most `amount` of `measure` per `per`."""

    measure: Annotated[str, one_of(tuple(MEASURES))] = Field(description="What is counted.")
    per: Annotated[str, one_of(PERIODS)] = Field(
        "",
        description="In which period; days and months are those of the team's time zone, `total` never starts again. "
        "Not for concurrency.",
    )
    amount: Annotated[Decimal, values.DECIMAL] = Field(
        description="US dollars, seconds, characters, requests, or requests at once."
    )
    burst: Annotated[int, whole_number(1, 1_000_000_000)] = Field(
        0, description="Of requests per minute or hour: how many may come at once. Not written: as many as `amount`."
    )


class PriceRow(Row):
    """US dollars per unit; units that are left out are not charged, at least one must cost something."""

    per_minute: Usd = Field(Decimal(0), description="Per minute of audio.")
    per_second: Usd = Field(Decimal(0), description="Per second of audio.")
    per_1m_characters: Usd = Field(Decimal(0), description="Per million characters to be spoken.")
    per_1m_input_tokens: Usd = Field(Decimal(0), description="Per million input tokens.")
    per_1m_output_tokens: Usd = Field(Decimal(0), description="Per million output tokens.")
    per_1m_audio_tokens: Usd = Field(
        Decimal(0), description="Per million audio tokens of the input; 0: they cost what other input tokens cost."
    )
    per_request: Usd = Field(Decimal(0), description="Per request.")


class CanRow(Row):
    """What this upstream can do, where it differs from its kind."""

    routes: tuple[Annotated[str, one_of(ROUTES)], ...] = Field((), min_length=1, description="Routes it serves.")
    formats: tuple[Annotated[str, one_of(TRANSCRIPTS)], ...] = Field(
        (), min_length=1, description="Values of response_format that it knows for transcripts."
    )
    containers: tuple[Annotated[str, one_of([row.name for row in CONTAINERS])], ...] = Field(
        (), min_length=1, description="Containers that it reads; others are sent elsewhere if possible."
    )
    stream: Annotated[bool | None, values.FLAG] = Field(None, description="Answers transcriptions as events.")
    chunked: Annotated[bool | None, values.FLAG] = Field(None, description="Takes bodies without Content-Length.")


class TimeoutsRow(Row):
    """How long to wait for an upstream, in seconds."""

    connect: Seconds = Field(5.0, description="For a connection, TLS included.")
    first_byte: Annotated[float | None, values.SECONDS] = Field(
        None,
        description="For the first byte of the answer, once the request is sent. Not written: 30 and half the audio's "
        "length, at most 600.",
    )
    idle: Seconds = Field(60.0, description="Between two pieces of the answer.")


Limits = Annotated[tuple[LimitRow, ...], BeforeValidator(nothing_is_none_of_them)]
Prices = Annotated[dict[Model, Annotated[PriceRow, FreeOr()]], EMPTY]


class UpstreamRow(Row):
    """A server that requests can go to."""

    kind: Annotated[str, one_of(tuple(KINDS))] = Field(description="The dialect it speaks.")
    base_url: Annotated[str, values.ADDRESS] = Field(description="Its address up to and including /v1.")
    key: Annotated[str | None, values.SECRET] = Field(
        None, repr=False, description="Its API key. Empty: the upstream is left out. Not written: none is sent."
    )
    models: Annotated[dict[Model, Model], Field(min_length=1), NamesOrMap()] = Field(
        description="Models it serves: a list, or a mapping from the name that callers use to the name there. "
        "Names may be patterns; `*` behind a name means the same name.",
    )
    priority: Annotated[int, whole_number(0, 1000)] = Field(1, description="Lower goes first.")
    weight: Annotated[int, whole_number(1, 1000)] = Field(1, description="Share within one priority.")
    can: CanRow = Field(CanRow(), description="What it can do, where it differs from its kind.")
    timeouts: TimeoutsRow = Field(TimeoutsRow(), description="How long to wait for it, in seconds.")
    retry_timeouts: Annotated[bool, values.FLAG] = Field(
        False,
        description="Try the next upstream when this one does not answer in time. It may have served, and bill it.",
    )
    max_requests: Annotated[int, whole_number(1, 1_000_000)] = Field(
        1024, description="Requests that a worker has under way there at once; more go elsewhere."
    )
    allow_private: Annotated[bool, values.FLAG] = Field(
        False, description="Its address may be one of this machine or of a private network."
    )
    limits: Limits = Field((), description="What the gateway may use of it, all keys together.")
    balance: Annotated[Literal["auto", "off"] | None, one_of(("auto", "off"))] = Field(
        None,
        description="Whether it is asked what is left of your money there; where nothing is, it goes last. "
        "Not written: auto for kind newapi, off for others.",
    )
    multiplier: Annotated[Decimal, values.MULTIPLIER] = Field(
        Decimal(1),
        description="What it bills as a multiple of the list price: common and shipped prices are multiplied by it, "
        "its own `prices` are not.",
    )
    prices: Prices = Field(
        {}, description="What it really bills, by model; these go before the common and the shipped prices."
    )
