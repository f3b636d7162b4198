"""The only room that talks to Redis or Valkey.

One typed function per Lua script or command, one script per file in `lua/`, and the supervisor of the embedded
server. Rules (what a limit means, what is charged) come in as plain values from `policy/`.

| to look for | in |
|---|---|
| the way there | `target`, `link`, `finders`, `sockets`; `checks`; `shards`, `layout` |
| one call | `connection`, `together` (many things in one call), `deadline`; `durable` (on its disk) |
| one request | `limits` (admit, switch), `grants`; `leases` (renew, reap); `usage` (settle), `hours`; `journal` |
| one sent again | `repeats` (claim, finish) |
| keys and teams | `keys` (of the file, and who holds one), `register` (by hand), `roll` (read), `records`, `pepper` |
| what operators do | `sessions` (of the pages), `drains` (upstreams out of use) |
| what was used | `totals` (sums), `stream` and `history` (single requests), `books` (for operators) |
| the server of our own | `embedded`, `engine` |
"""

import sys

# redis-py loads OpenTelemetry's library where that is installed, whether or not anybody wants it: 45 ms of every start.
_SDK = "opentelemetry.sdk.metrics"
if _SDK not in sys.modules:
    sys.modules[_SDK] = None  # type: ignore[assignment]
    import redis.asyncio as _redis

    del sys.modules[_SDK], _redis
