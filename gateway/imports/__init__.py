"""Other gateways' configurations, as one of ours: read, converted, written out. Called by `audiogate import` alone.

`sources.py` and `database.py` read files into plain values; one file per product (`litellm.py`, `newapi.py`, each with
helpers of its name) makes a Draft of them and says of every setting what became of it; `emit.py` writes the draft as
YAML and `proof.py` holds it against the same check that `serve` makes. Converting does no I/O and reads no clock.
`products.py` names them all.
"""
