"""What the demo upstream refuses, in OpenAI's words and envelope."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class Problem(Exception):
    """An error answer: its HTTP status and the four fields of OpenAI's envelope."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code

    def response(self) -> Response:
        """The envelope with its status."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return JSONResponse({"error": error}, status_code=self.status)


def missing(param: str) -> Problem:
    """A required field is not there."""
    return Problem(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def invalid(param: str, why: str) -> Problem:
    """A field has a value that it cannot have."""
    return Problem(400, f"Invalid value for '{param}': {why}", param=param, code="invalid_value")


def no_model(model: str) -> Problem:
    """The model is unknown, or does not serve this route."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return Problem(404, message, param="model", code="model_not_found")


def from_framework(request: Request, raised: HTTPException) -> Problem:
    """What the framework refuses by itself: unknown paths, wrong methods, broken forms."""
    if raised.status_code == 404:
        return Problem(404, f"Invalid URL ({request.method} {request.url.path})")
    if raised.status_code == 405:
        hint = "(HINT: Perhaps you meant to use a different HTTP method?)"
        return Problem(405, f"Not allowed to {request.method} on {request.url.path} {hint}")
    return Problem(raised.status_code, raised.detail)
