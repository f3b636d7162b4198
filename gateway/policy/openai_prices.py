"""OpenAI's list prices of its audio models, in US dollars: what counts where nobody wrote a price. Pure data.

They were taken from OpenAI's page of each model (developers.openai.com, API docs, Models: "Pricing") as it stood in the
month AS_OF. A model whose page tells no price is not here. The models named gpt-4o are billed by tokens; the prices
per minute on the page "Pricing" are OpenAI's own estimates of that, and not here either.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

from gateway.policy.pricing import Price

AS_OF = "2026-10"
ORIGIN = f"openai {AS_OF}"


def _row(**units: str) -> Price:
    return Price(**{unit: Decimal(usd) for unit, usd in units.items()}, origin=ORIGIN)


PRICES: Mapping[str, Price] = MappingProxyType(
    {
        "whisper-1": _row(per_minute="0.006"),
        "gpt-transcribe": _row(per_minute="0.0045"),
        "gpt-4o-transcribe": _row(per_1m_input_tokens="2.5", per_1m_output_tokens="10"),
        "gpt-4o-transcribe-diarize": _row(per_1m_input_tokens="2.5", per_1m_output_tokens="10"),
        "gpt-4o-mini-transcribe": _row(per_1m_input_tokens="1.25", per_1m_output_tokens="5"),
        "gpt-4o-mini-tts": _row(per_1m_input_tokens="0.6", per_1m_output_tokens="12"),
        "tts-1": _row(per_1m_characters="15"),
        "tts-1-hd": _row(per_1m_characters="30"),
    }
)
