"""The audio routes' part of the OpenAPI document: they are served outside FastAPI, so they are described here."""

from typing import Any

from gateway.audio.request import ENDPOINTS, PREFIX, Endpoint

Json = dict[str, Any]

ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
WORDS = {
    "transcription": ("createTranscription", "Audio to text, in its own language"),
    "translation": ("createTranslation", "Audio to English text"),
    "speech": ("createSpeech", "Text to audio"),
}
METHODS = ("get", "post", "put", "patch", "delete")


def described(document: Json) -> Json:
    """`document` with the audio routes, the error envelope and the key added."""
    parts = document.setdefault("components", {})
    parts.setdefault("schemas", {})["Error"] = ERROR
    parts["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "A key of this gateway"},
        "admin": {"type": "http", "scheme": "bearer", "description": "server.admin_token"},
    }
    paths = document["paths"]
    for (method, path), endpoint in ENDPOINTS.items():
        paths.setdefault(path, {})[method.lower()] = _operation(endpoint)
    paths[PREFIX + "{path}"] = {method: _passed_through(method) for method in METHODS}
    for path, operations in paths.items():
        for operation in operations.values():
            if path.startswith(("/v1/", "/admin/")):
                operation["security"] = [{"key" if path.startswith("/v1/") else "admin": []}]
                operation["responses"]["default"] = _content("An error", "application/json", _ref("Error"))
                operation["responses"].pop("422", None)
    return document


def _operation(endpoint: Endpoint) -> Json:
    name, summary = WORDS[endpoint.name]
    form = endpoint.reader == "form"
    media = "multipart/form-data" if form else "application/json"
    return {
        "tags": ["Audio"],
        "operationId": name,
        "summary": summary,
        "requestBody": {"required": True, "content": {media: {"schema": _body(endpoint)}}},
        "responses": {
            "200": {
                "description": "What the upstream answered, untouched",
                "content": {"*/*": {"schema": {}}, "text/event-stream": {"schema": {"type": "string"}}},
            }
        },
    }


def _body(endpoint: Endpoint) -> Json:
    text = {"type": "string"}
    fields: Json = {"model": text, "response_format": {"type": "string", "enum": list(endpoint.formats)}}
    if endpoint.reader == "form":
        fields |= {"file": {"type": "string", "format": "binary"}, "language": text, "prompt": text}
        fields |= {"temperature": {"type": "number"}, "stream": {"type": "boolean"}}
        needed = ["file", "model"]
    else:
        fields |= {"input": text, "voice": {}, "instructions": text, "speed": {"type": "number"}}
        fields |= {"stream_format": {"type": "string", "enum": ["audio", "sse"]}}
        needed = ["model", "input"]
    # Unknown fields are passed on, so they are welcome.
    return {"type": "object", "required": needed, "properties": fields, "additionalProperties": True}


def _passed_through(method: str) -> Json:
    return {
        "tags": ["Audio"],
        "operationId": f"{method}OtherAudio",
        "summary": "Any other audio route, passed through to the key's first healthy upstream",
        "parameters": [{"name": "path", "in": "path", "required": True, "schema": {"type": "string"}}],
        "responses": {"200": {"description": "What the upstream answered", "content": {"*/*": {"schema": {}}}}},
    }


def _content(description: str, media: str, schema: Json) -> Json:
    return {"description": description, "content": {media: {"schema": schema}}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
