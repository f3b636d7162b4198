"""Any server that speaks OpenAI's API as OpenAI does. Pure. Source: the platform's error code guide."""

from gateway.upstreams.base import Capabilities, Kind, Sign, Verdict

KIND = Kind(
    "openai",
    Capabilities(),
    (
        Sign(Verdict.EXHAUSTED, 429, code="insufficient_quota"),
        Sign(Verdict.NO_MODEL, 404, code="model_not_found"),
        Sign(Verdict.NO_MODEL, 403, code="model_not_found"),
    ),
)
