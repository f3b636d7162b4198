"""audiogate: a gateway that speaks OpenAI's audio API.

One request takes seven steps, told top to bottom in `proxy.py`:
authenticate, receive, plan, admit, attempt, relay, settle.

Rooms that decide (`policy/`, `upstreams/`, `audio/`, `errors/`, `connect/`) are plain functions over values that nobody
changes: no sockets, no files, no clock, no dice. Rooms that do (`web/`, `pages/`, `store/`, `client.py`, `spool.py`,
`probe/`, `health.py`, `balances.py`, `checkup.py`, `grace.py`, `settler.py`, `tasks.py`, `metrics.py`, `scrape.py`,
`logs.py`) hold no rules. `exchange.py` and `relay/` are what `client.py` rests on, `dialling.py` what `balances.py` and
`checkup.py` do, `files.py` what `spool.py`, `tally.py` what `metrics.py` does.

For a request: `call.py` is how it came in, `parts.py` what serving it needs, `upload.py` fills the spool,
`admission.py` asks the store, `attempts.py` is one attempt at one upstream, `entry.py` is what is kept of it,
`ledger.py` closes it once, and `repeats/` does once what is sent again under an Idempotency-Key.

For the process: `server.py` runs the application, `groundwork.py` is what a start needs, `serving.py` serves in one
process and ends well, `workers.py` are several; `reload.py` reads a changed file and `live.py` goes by it, `api.py`
puts together what FastAPI serves, `loops.py` is what is done again and again, `memory.py` tells the C library what to
keep, `overload.py` measures how late the event loop is and refuses what is too much, `watchdog.py` tells what holds it
up, `stdout.py` never waits, and `telemetry/` tells OpenTelemetry of requests. `app.py` is the only file that names
every part.

For operators: `cli/` is the command, `config/` the file that it reads, `doctor/` tells why it does not work, `imports/`
takes over other gateways' configurations, `connect/` tells how applications find this one, `demo/` tries it out.

Arrows point down; import-linter checks it.
"""

__version__ = "0.1.0"
