"""The port: is it free, is a gateway there that serves, or something else?"""

import httpx2

from gateway.doctor.finding import Finding, Scene, ok, problem
from gateway.errors import SetupError
from gateway.server import listen

SECONDS = 3.0
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is asked instead


def port(scene: Scene) -> list[Finding]:
    """Whoever listens where the gateway is to listen."""
    server = scene.known.server
    host = ANY.get(server.host, server.host)
    where = f"{f'[{host}]' if ':' in host else host}:{server.port}"
    try:
        with httpx2.Client(base_url=f"http://{where}", timeout=SECONDS, trust_env=False) as client:
            alive = client.get("/livez")
            if not _is_ours(alive):
                return [_taken(where, alive.headers.get("server", ""))]
            ready = client.get("/readyz")
    except (httpx2.ConnectError, httpx2.ConnectTimeout):
        return [_free(server.host, server.port)]
    except httpx2.HTTPError:
        return [_taken(where, "")]
    if ready.status_code == 200:
        return [ok(f"A gateway serves at {where}, and is ready.")]
    return [problem(f"A gateway runs at {where}, and is not ready: {_reason(ready)}", "Its log tells more.")]


def _free(host: str, number: int) -> Finding:
    try:
        listen(host, number).close()
    except SetupError as error:
        return problem(str(error))
    return ok(f"Nobody listens on {host} port {number}: it is free for `audiogate serve`.")


def _taken(where: str, name: str) -> Finding:
    who = f"something that calls itself {name!r}" if name.isprintable() and name else "something that is no gateway"
    return problem(
        f"At {where} there is {who} already.", "Stop it, or choose another port: server.port, AUDIOGATE_PORT or --port."
    )


def _is_ours(answer: httpx2.Response) -> bool:
    return answer.status_code == 200 and answer.headers.get("x-request-id", "").startswith("req_")


def _reason(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"it answers {answer.status_code}."
