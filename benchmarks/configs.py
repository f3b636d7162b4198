"""What each contestant is told: the text of its configuration file."""

import json
from pathlib import Path

MODELS = (
    "whisper-1",
    "tts-1",
    "tts-1-mock-megabyte",
    "tts-1-mock-paced",
    "whisper-1-mock-slow",
    "gpt-4o-transcribe-mock-events",
)
KEY = "sk-key-of-the-benchmark"
ADMIN = "token-of-the-benchmark"
LIMITS = [
    {"measure": "usd", "per": "month", "amount": "1000000"},
    {"measure": "requests", "per": "minute", "amount": "100000000"},
]

AUDIOGATE = """\
server: {{host: 127.0.0.1, workers: {workers}, admin_token: "{admin}"}}
store: {{data: data, url: "{store}"}}
prices:
  "tts-*": {{per_1m_characters: 15}}
  "whisper-*": {{per_minute: 0.006}}
  "gpt-4o-transcribe*": {{per_1m_input_tokens: 2.5, per_1m_output_tokens: 10}}
upstreams:
  mock:
    kind: openai
    base_url: {upstream}/v1
    allow_private: true
    key: sk-upstream
    models: [{models}]
    limits: [{{measure: usd, per: day, amount: 1000000}}]
teams:
  default:
    limits: [{{measure: usd, per: month, amount: 1000000}}, {{measure: audio_seconds, per: day, amount: 1000000000}}]
keys:
{keys}
"""


def audiogate(upstream: str, keys: list[str], *, workers: int = 1, store: str = "") -> str:
    """Limits on key, team and upstream, real prices; everything else as it comes."""
    rows = "\n".join(f"  key-{at}: {{key: {key}, limits: {json.dumps(LIMITS)}}}" for at, key in enumerate(keys))
    return AUDIOGATE.format(
        upstream=upstream, keys=rows, workers=workers, store=store, models=", ".join(MODELS), admin=ADMIN
    )


# "stock" has the buffers nginx comes with, "large" those for bodies like ours. Both stream both ways.
NGINX_BUFFERS = {
    "stock": "proxy_request_buffering off; proxy_buffering off;",
    "large": "proxy_request_buffering off; proxy_buffering off; proxy_buffer_size 64k; proxy_buffers 8 64k;"
    " proxy_busy_buffers_size 128k; client_body_buffer_size 256k;",
}
NGINX = """\
daemon off;
worker_processes {workers};
{user}
pid {room}/nginx.pid;
error_log {room}/error.log warn;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
  access_log {access};
  client_body_temp_path {room}/tmp; proxy_temp_path {room}/tmp;
  fastcgi_temp_path {room}/tmp; uwsgi_temp_path {room}/tmp; scgi_temp_path {room}/tmp;
  client_max_body_size 0;
  upstream mock {{ server {server}; keepalive 2048; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096{ssl};
    keepalive_requests 100000000;
    {more}
    location / {{
      proxy_pass {scheme}://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      {buffers}
    }}
  }}
}}
"""


def nginx(room: Path, port: int, upstream: str, *, buffers: str, user: str, ca: Path | None) -> str:
    """A proxy with an access log and kept connections; with `ca` it holds the upstream's certificate against it."""
    scheme, _, server = upstream.partition("://")
    more = ""
    if ca is not None:
        more = f"proxy_ssl_trusted_certificate {ca}; proxy_ssl_verify on; proxy_ssl_name localhost;"
    return NGINX.format(
        room=room, port=port, server=server, scheme=scheme, buffers=NGINX_BUFFERS[buffers], user=user, more=more,
        ssl="", access=f"{room}/access.log", workers=1,
    )  # fmt: skip


def nginx_tls(room: Path, port: int, upstream: str, *, user: str, certificate: Path, key: Path) -> str:
    """The TLS endpoint in front of the mock: no log, large buffers."""
    more = f"ssl_certificate {certificate}; ssl_certificate_key {key};"
    return NGINX.format(
        room=room, port=port, server=upstream.partition("://")[2], scheme="http", buffers=NGINX_BUFFERS["large"],
        user=user, more=more, ssl=" ssl", access="off", workers=1,
    )  # fmt: skip


HAPROXY = """\
global
  nbthread 1
  maxconn 4096
  log stdout format raw local0
defaults
  mode http
  log global
  option httplog
  http-reuse always
  timeout connect 5s
  timeout client 600s
  timeout server 600s
frontend front
  bind 127.0.0.1:{port} backlog 4096
  default_backend back
backend back
  server mock {server} pool-max-conn 2048
"""


def haproxy(port: int, upstream: str) -> str:
    """A proxy with an access log and kept connections."""
    return HAPROXY.format(port=port, server=upstream.partition("://")[2])


def litellm(upstream: str) -> str:
    """One deployment per model, and a master key that callers show. JSON is YAML."""
    base = {"tts": "tts-1", "whi": "whisper-1", "gpt": "gpt-4o-transcribe"}  # whose price counts
    rows = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}", "api_base": f"{upstream}/v1", "api_key": "sk-upstream"},
            "model_info": {
                "base_model": base[name[:3]],
                "mode": "audio_speech" if name.startswith("tts") else "audio_transcription",
            },
        }
        for name in MODELS
    ]
    settings = {"num_retries": 0, "request_timeout": 600, "telemetry": False}
    return json.dumps({"model_list": rows, "litellm_settings": settings, "general_settings": {"master_key": KEY}})
