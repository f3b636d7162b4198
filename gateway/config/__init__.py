"""The configuration file: read, checked, frozen. The only room that reads the environment.

`source.py` turns YAML into plain values that know their lines (with `syntax.py` and `expand.py`), `schema.py` says
what may stand in it (with `rows.py`, `values.py` and the like), `shape.py` puts its objections in operators' words,
`check.py` finds what only the whole can tell, and `load.py` builds the values of `model.py` that other rooms use.
"""
