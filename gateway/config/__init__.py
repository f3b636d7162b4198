"""The configuration file: read, checked, frozen. The only room that reads the environment.

`source.py` turns YAML into plain values that know their lines (with `syntax.py` and `expand.py`), `schema.py` says
what may stand in it (with `rows.py`, `values.py` and the like), `shape.py` puts its objections in operators' words,
`check.py` finds what only the whole can tell, and `load.py` builds the values of `model.py` that other rooms use.
`sight.py` tells when the file has become another one, `shown.py` shows what it comes to without its secrets, and
`template.py` writes one to start from.
"""
