"""What OpenTelemetry is told of requests: a trace of each, and metrics, by OTLP over HTTP.

Off unless an endpoint is configured; then the library is not even loaded. `teller.py` takes what the ledger closes, and
a thread of its own makes of it spans (`spans.py`) and measurements (`measures.py`) and sends them (`sending.py`). Names
are those of OpenTelemetry's conventions for generative AI, as far as there are any; docs/telemetry.md lists them.
"""
