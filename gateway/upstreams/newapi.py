"""Aggregators that run one-api or new-api, such as aigc369 and 4allapi. Pure.

What is peculiar: 403 is a dry wallet, 401 may be one too, some errors come with status 200, audio is measured by
file extension (which is why `.webm` and `.mpeg` always fail), and chunked request bodies are untried. Sources:
error paths and audio relay of both projects' servers.
"""

from gateway.upstreams.base import Capabilities, Kind, Sign, Verdict

DRY = r"额度|余额|quota|balance"
KIND = Kind(
    "newapi",
    Capabilities(
        formats=frozenset({"json", "text", "srt", "verbose_json", "vtt"}),
        containers=frozenset({"mp3", "wav", "flac", "m4a", "mp4", "ogg", "aiff", "aac"}),
        stream=False,
        chunked=False,
    ),
    (
        Sign(Verdict.EXHAUSTED, 403, code="insufficient_user_quota"),
        Sign(Verdict.EXHAUSTED, 403, code="pre_consume_token_quota_failed"),
        Sign(Verdict.EXHAUSTED, 401, text=DRY),
        Sign(Verdict.EXHAUSTED, 403, text=DRY),
        Sign(Verdict.EXHAUSTED, 429, code="insufficient_quota"),
        Sign(Verdict.NO_MODEL, code="model_not_found"),
        Sign(Verdict.NO_MODEL, 503, text="无可用渠道|no available channel"),
        Sign(Verdict.NO_MODEL, 500, code="count_token_failed"),
        Sign(Verdict.CALLER, 413),
        Sign(Verdict.CALLER, 500, code="invalid_request"),
        Sign(Verdict.BUSY, text="负载已饱和"),
        # With status 200 there is no telling but the text.
        Sign(Verdict.EXHAUSTED, 200, text=DRY),
        Sign(Verdict.CREDENTIALS, 200, text="令牌|token"),
        Sign(Verdict.FAILED, 200),
    ),
    hides_errors=True,
    balance=True,
)
