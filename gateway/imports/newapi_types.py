"""The numbers of new-api's channel types: which of them speak OpenAI's audio API, and where."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Type:
    """A channel type: its name, its address without /v1 where a channel names none. `speaks` OpenAI's audio API."""

    name: str
    address: str = ""
    speaks: bool = False


# Source: new-api's constants of channel types and their base URLs. Those that stand for a server with OpenAI's own API
# can be taken over; what is not here has an API of its own.
TYPES: Mapping[int, Type] = {
    1: Type("OpenAI", "https://api.openai.com", speaks=True),
    3: Type("Azure"),
    4: Type("Ollama"),
    6: Type("OpenAIMax", "https://api.openaimax.com", speaks=True),
    7: Type("OhMyGPT", "https://api.ohmygpt.com", speaks=True),
    8: Type("Custom", speaks=True),
    9: Type("AILS", "https://api.caipacity.com", speaks=True),
    10: Type("AIProxy", "https://api.aiproxy.io", speaks=True),
    12: Type("API2GPT", "https://api.api2gpt.com", speaks=True),
    13: Type("AIGC2D", "https://api.aigc2d.com", speaks=True),
    14: Type("Anthropic"),
    17: Type("Ali"),
    18: Type("Xunfei"),
    20: Type("OpenRouter"),
    24: Type("Gemini"),
    33: Type("AWS"),
    35: Type("MiniMax"),
    40: Type("SiliconFlow", "https://api.siliconflow.cn", speaks=True),
    41: Type("VertexAI"),
    42: Type("Mistral"),
    45: Type("VolcEngine"),
    47: Type("Xinference", speaks=True),
}
OWN_HOSTS = frozenset({"api.openai.com", "api.siliconflow.cn", "api.groq.com"})
"""Hosts that answer as OpenAI does; others in the public network are taken for aggregators."""

ENABLED = 1
STATUS: Mapping[int, str] = {
    2: "it is disabled",
    3: "it was disabled by new-api, after errors or when it ended",
    4: "its quota is used up",
}
