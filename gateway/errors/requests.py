"""What can go wrong with an audio request, by the step that refuses it."""

from collections.abc import Mapping

from gateway.errors.row import CALLER, SERVER, Row

ROWS: Mapping[str, Row] = {
    # authenticate
    "no_key": Row(
        401,
        CALLER,
        None,
        "You didn't provide an API key. Send it in the Authorization header: Authorization: Bearer YOUR_KEY.",
    ),
    "bad_key": Row(
        401,
        CALLER,
        "invalid_api_key",
        "Incorrect API key provided: {shown}. Ask whoever runs this gateway for a key.",
    ),
    "revoked_key": Row(401, CALLER, "invalid_api_key", "This API key has been revoked: {shown}. Ask for a new one."),
    "expired_key": Row(401, CALLER, "invalid_api_key", "This API key has expired: {shown}. Ask for a new one."),
    "bad_address": Row(401, CALLER, "invalid_api_key", "This API key may not be used from {address}: {shown}."),
    "bad_admin_token": Row(401, CALLER, "invalid_admin_token", "Send server.admin_token: Authorization: Bearer TOKEN."),
    "bad_metrics_token": Row(
        401, CALLER, "invalid_metrics_token", "Send server.metrics_token: Authorization: Bearer TOKEN."
    ),
    "too_many_tries": Row(
        429, CALLER, "too_many_tries", "Too many wrong tokens from your address. Please wait {wait}.", retry="no"
    ),
    # receive
    "too_large": Row(
        413,
        SERVER,
        None,
        "Maximum content size limit ({limit}) exceeded ({got} bytes read). Send a smaller or more compressed file.",
        retry="no",
    ),
    "bad_form": Row(400, CALLER, "invalid_form", "The multipart form could not be read: {why}."),
    "incomplete_form": Row(
        400,
        CALLER,
        "incomplete_multipart",
        "The upload ended before the form did: the final boundary is missing. Send the whole body.",
    ),
    "bad_content_type": Row(
        400,
        CALLER,
        "invalid_content_type",
        "Expected Content-Type {expected}, got {got}.",
    ),
    "bad_json": Row(400, CALLER, "invalid_json", "We could not parse the JSON body of your request: {why}."),
    "missing": Row(400, CALLER, "missing_required_parameter", "Missing required parameter: '{param}'."),
    "repeated": Row(400, CALLER, "invalid_value", "Parameter '{param}' was given more than once; send it once."),
    "invalid": Row(400, CALLER, "invalid_value", "Invalid value for '{param}': {why}."),
    "empty_file": Row(400, CALLER, "empty_file", "The uploaded file is empty.", param="file"),
    "client_gone": Row(499, CALLER, "client_closed_request", "The client closed the connection.", retry="no"),
    "spool_full": Row(
        503,
        SERVER,
        "overloaded",
        "The gateway has no room for another upload right now. Please try again shortly.",
        retry="yes",
    ),
    # plan
    "no_route": Row(404, CALLER, None, "Invalid URL ({method} {path})"),
    "bad_method": Row(
        405,
        CALLER,
        None,
        "Not allowed to {method} on {path} (HINT: Perhaps you meant to use a different HTTP method?)",
    ),
    "no_model": Row(
        404,
        CALLER,
        "model_not_found",
        "The model `{model}` does not exist or you do not have access to it.",
        param="model",
    ),
    "no_upstream": Row(
        403,
        CALLER,
        "upstream_not_allowed",
        "This key may not use any upstream that serves this request.",
    ),
    "bad_format": Row(
        400,
        CALLER,
        "unsupported_value",
        "response_format '{value}' is not compatible with model '{model}'. Use {choice} instead.",
        param="response_format",
    ),
    # admit
    "rate_limit": Row(
        429,
        "requests",
        "rate_limit_exceeded",
        "Rate limit reached for {scope} on {what}: Limit {limit}, Used {used}, Requested {asked}. "
        "Please try again in {wait}.",
        retry="yes",
    ),
    "quota": Row(
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded the current quota of {scope}: {what}: Limit {limit}, Used {used}, Requested {asked}. {reset}",
        retry="no",
    ),
    "over_limit": Row(
        429,
        "insufficient_quota",
        "insufficient_quota",
        "This request may need more than {scope} may use at once: {what}: Limit {limit}, Requested {asked}. "
        "Send less at once, or ask whoever runs this gateway for a higher limit.",
        retry="no",
    ),
    "upstreams_out_of_quota": Row(
        429,
        "insufficient_quota",
        "insufficient_quota",
        "Every upstream that may serve this request is out of quota. Ask whoever runs this gateway.",
        retry="no",
    ),
    "store_down": Row(
        503,
        SERVER,
        "store_unavailable",
        "The gateway cannot check quotas right now. Please try again shortly.",
        retry="yes",
    ),
    "drained": Row(
        503,
        SERVER,
        "upstreams_drained",
        "Every upstream that may serve this request is drained: whoever runs this gateway has taken it out of use, and "
        "puts it back with `audiogate upstreams undrain`. Please try again in {wait}.",
        retry="yes",
    ),
    # attempt and relay
    "upstream_busy": Row(
        429,
        "requests",
        "rate_limit_exceeded",
        "Every upstream that may serve this request is busy. Please try again in {wait}.",
        retry="yes",
    ),
    "upstream_refused": Row(
        502,
        SERVER,
        "upstream_refused",
        "No upstream accepted this request. Your key is fine; whoever runs this gateway has been told.",
    ),
    "upstream_failed": Row(502, SERVER, "upstream_failed", "The upstream failed to serve this request."),
    "upstream_untrusted": Row(
        502,
        SERVER,
        "tls",
        "The upstream could not prove that it is the one it should be. Whoever runs this gateway has been told.",
    ),
    "upstream_unreachable": Row(503, SERVER, "upstream_unreachable", "No upstream could be reached."),
    "upstream_timeout": Row(504, SERVER, "upstream_timeout", "The upstream did not answer in time."),
    "upstream_said": Row(400, CALLER, None, "{message}"),  # status, type and code are the upstream's own
    # sent before (Idempotency-Key)
    "bad_idempotency_key": Row(
        400,
        CALLER,
        "invalid_idempotency_key",
        "Idempotency-Key must have 1 to 255 printable characters without spaces.",
    ),
    "other_request": Row(
        400,
        CALLER,
        "idempotency_key_reused",
        "This Idempotency-Key was used for another request in the last 24 hours. Use a new one for each request.",
        retry="no",
    ),
    "under_way": Row(
        409,
        CALLER,
        "request_in_progress",
        "A request with this Idempotency-Key is still under way. Please try again in {wait}.",
        retry="yes",
    ),
    "not_kept": Row(
        409,
        CALLER,
        "answer_not_kept",
        "The request with this Idempotency-Key was served, or may have been, and its answer is not kept: {why}. "
        "It is not done again; use a new Idempotency-Key to have it done again.",
        retry="no",
    ),
}
