"""Side by side: the gateway, nginx, HAProxy and two other gateways, with the same load, upstream and cores.

`run.py` is the command and `README.md` tells how to use it. `tools/` are the two programs in C that load and answer,
`programs.py` builds and runs programs, `measure.py` reads from /proc what they use. `contestants.py` says how each
contestant is started (`ours.py` how the gateway is), `configs.py` what it is told, `peers.py` installs two of them.
`workloads.py` are the rows; `stage.py` holds upstream and contestants while `rounds.py` runs the rows in turn, and
`special.py` those that are not a load alone. `results.py` keeps the samples, `figures.py` puts them together, `bar.py`
holds them against what is wanted, `report.py` writes them down.
"""
