"""What operators, the connection and the gateway itself can be refused for."""

from collections.abc import Mapping

from gateway.errors.row import CALLER, SERVER, Row

ROWS: Mapping[str, Row] = {
    # keys and teams, for operators
    "unknown_name": Row(404, CALLER, "not_found", "There is no {kind} called '{called}'."),
    "name_taken": Row(409, CALLER, "name_taken", "There is or was a {kind} called '{called}'; choose another name."),
    "declared_in_file": Row(
        409, CALLER, "declared_in_file", "The {kind} '{called}' is declared in {file}; change it there."
    ),
    "is_revoked": Row(409, CALLER, "is_revoked", "The key '{called}' is revoked, and that is final."),
    "no_record": Row(
        404,
        CALLER,
        "not_found",
        "There is no record of '{rid}'. Requests that were let in leave one as they end. {kept}",
    ),
    "changed_meanwhile": Row(409, CALLER, "changed_meanwhile", "The {kind} '{called}' was just changed; try again."),
    # the pages
    "operators_only": Row(
        403, CALLER, "operators_only", "This page is for operators. Sign in with server.admin_token to see it."
    ),
    "other_site": Row(
        403,
        CALLER,
        "other_site",
        "This form did not come from a page of this session. Open the page again and send it from there; a proxy in "
        "front has to pass the Host header on as it is.",
        retry="no",
    ),
    # the connection
    "bad_request": Row(400, CALLER, "bad_request", "The request could not be read: {why}.", retry="no"),
    "long_url": Row(
        414, CALLER, "uri_too_long", "The URL has more than {limit} bytes. Send what is long in the body.", retry="no"
    ),
    "large_head": Row(
        431, CALLER, "headers_too_large", "The headers have more than {limit}. Send fewer or smaller ones.", retry="no"
    ),
    "slow": Row(408, CALLER, "request_timeout", "The request did not arrive in time: {why}.", retry="yes"),
    # the gateway itself
    "overloaded": Row(
        503,
        SERVER,
        "overloaded",
        "The gateway has more to do than it can right now. Please try again in {wait}.",
        retry="yes",
    ),
    "not_ready": Row(503, SERVER, "not_ready", "The gateway is not ready: {why}.", retry="yes"),
    "internal": Row(
        500,
        SERVER,
        None,
        "The server had an error while processing your request. Sorry about that!",
    ),
}
