"""How applications are pointed at this gateway: a table of them, filled in with an address, a key and models. Pure.

`apps.py` has the nouns and fills in, `programs.py` and `products.py` are the rows, `table.py` is the whole table and
`document.py` writes it as a page: `python -m gateway.connect > docs/connect.md`.
"""

from gateway.connect.apps import App, Block
from gateway.connect.table import snippets

__all__ = ("App", "Block", "snippets")
