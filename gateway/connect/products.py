"""Applications that are set up: environment variables, configuration files, fields of a form. Pure data."""

from gateway.connect.apps import VOICES, Row, Template

OPEN_WEBUI = Row(
    "open-webui",
    "Open WebUI",
    "What was once saved in its admin pages goes before the environment. In a container, 127.0.0.1 is the container: "
    "use an address of the gateway that it can reach.",
    (
        Template(
            "Environment",
            "yaml",
            """\
services:
  open-webui:
    environment:
      AUDIO_STT_ENGINE: openai
      AUDIO_STT_OPENAI_API_BASE_URL: %BASE_URL%
      AUDIO_STT_OPENAI_API_KEY: %KEY%
      AUDIO_STT_MODEL: %TRANSCRIBE%
""",
            "transcribe",
        ),
        Template(
            "Environment, for speech",
            "yaml",
            """\
services:
  open-webui:
    environment:
      AUDIO_TTS_ENGINE: openai
      AUDIO_TTS_OPENAI_API_BASE_URL: %BASE_URL%
      AUDIO_TTS_OPENAI_API_KEY: %KEY%
      AUDIO_TTS_MODEL: %SPEAK%
      AUDIO_TTS_VOICE: %VOICE%
""",
            "speak",
        ),
        Template(
            "Admin Panel, Settings, Audio: Speech-to-Text",
            "text",
            "Speech-to-Text Engine: OpenAI\nAPI Base URL: %BASE_URL%\nAPI Key: %KEY%\nSTT Model: %TRANSCRIBE%\n",
            "transcribe",
        ),
        Template(
            "Admin Panel, Settings, Audio: Text-to-Speech",
            "text",
            "Text-to-Speech Engine: OpenAI\nAPI Base URL: %BASE_URL%\nAPI Key: %KEY%\nTTS Model: %SPEAK%\n"
            "TTS Voice: %VOICE%\n",
            "speak",
        ),
    ),
)
HOME_ASSISTANT = Row(
    "home-assistant",
    "Home Assistant",
    "Custom components from HACS: OpenAI Whisper API (openai_stt) and OpenAI TTS. Choose them in Settings, Voice "
    "assistants, afterwards.",
    (
        Template(
            "configuration.yaml, for openai_stt",
            "yaml",
            "stt:\n  - platform: openai_stt\n    api_key: %KEY%\n    api_url: %BASE_URL%\n    model: %TRANSCRIBE%\n",
            "transcribe",
        ),
        Template(
            "OpenAI TTS, provider Custom",
            "text",
            "API endpoint: %BASE_URL%/audio/speech\nAPI key: %KEY%\nModel: %SPEAK%\nVoice: %VOICE%\n",
            "speak",
        ),
    ),
)
WYOMING = Row(
    "wyoming",
    "Home Assistant through Wyoming",
    "A bridge in a container, wyoming_openai; then add the integration Wyoming Protocol with its host and port 10300.",
    (
        Template(
            "docker-compose.yml",
            "yaml",
            """\
services:
  wyoming-openai:
    image: ghcr.io/roryeckel/wyoming_openai:latest
    ports: ["10300:10300"]
    environment:
      WYOMING_URI: tcp://0.0.0.0:10300
      WYOMING_LANGUAGES: en
      STT_OPENAI_URL: %BASE_URL%
      STT_OPENAI_KEY: %KEY%
      STT_MODELS: %TRANSCRIBE%
      TTS_OPENAI_URL: %BASE_URL%
      TTS_OPENAI_KEY: %KEY%
      TTS_MODELS: %SPEAK%
      TTS_VOICES: %VOICE%
""",
            "both",
        ),
    ),
)
SILLYTAVERN = Row(
    "sillytavern",
    "SillyTavern",
    "Extensions, TTS, provider OpenAI Compatible. It wants the whole address of the route, not only the base URL.",
    (
        Template(
            "Fields",
            "text",
            "Provider Endpoint: %BASE_URL%/audio/speech\nAPI Key: %KEY%\nModel: %SPEAK%\n"
            f"Available Voices: {VOICES}\nSpeed: 1\n",
            "speak",
        ),
    ),
)
DIFY = Row(
    "dify",
    "Dify",
    "Install the plug-in OpenAI-API-compatible, then Settings, Model Provider, Add Model, once for each type.",
    (
        Template(
            "Type Speech2text",
            "text",
            "Model Name: %TRANSCRIBE%\nAPI Key: %KEY%\nAPI Base URL: %BASE_URL%\n",
            "transcribe",
        ),
        Template(
            "Type TTS",
            "text",
            "Model Name: %SPEAK%\nAPI Key: %KEY%\nAPI Base URL: %BASE_URL%\n"
            f"Available Voices: {VOICES}\nTTS API Format: OpenAI Compatible\n",
            "speak",
        ),
    ),
)
N8N = Row(
    "n8n",
    "n8n",
    "A credential of the type OpenAI for the node OpenAI, resource Audio (Transcribe a Recording, Generate Audio). "
    "Where that node does not offer your model, paste the node HTTP Request below.",
    (
        Template("Credential OpenAI", "text", "API Key: %KEY%\nBase URL: %BASE_URL%\n"),
        Template(
            "Node HTTP Request, to transcribe the binary field `data`",
            "json",
            """\
{
  "nodes": [
    {
      "name": "Transcribe",
      "type": "n8n-nodes-base.httpRequest",
      "typeVersion": 4.2,
      "position": [0, 0],
      "parameters": {
        "method": "POST",
        "url": %TRANSCRIPTIONS%,
        "sendHeaders": true,
        "headerParameters": { "parameters": [{ "name": "Authorization", "value": %AUTHORIZATION% }] },
        "sendBody": true,
        "contentType": "multipart-form-data",
        "bodyParameters": {
          "parameters": [
            { "name": "model", "value": %TRANSCRIBE% },
            { "parameterType": "formBinaryData", "name": "file", "inputDataFieldName": "data" }
          ]
        }
      }
    }
  ],
  "connections": {}
}
""",
            "transcribe",
        ),
    ),
)
PRODUCTS = (OPEN_WEBUI, HOME_ASSISTANT, WYOMING, SILLYTAVERN, DIFY, N8N)
