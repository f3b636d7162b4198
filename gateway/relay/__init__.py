"""Connections to upstreams, from the bytes up: HTTP/1.1 as a client speaks it to peers that may be broken or hostile.

What may live here: how a request is written (`requests.py`), how an answer is read (`answers.py`), one connection
with both (`connection.py`) and how it ends (`endings.py`), the connections to one origin (`pool.py`), how they are
made (`dial.py`), and what can go wrong (`failures.py`). Only `client.py` and `exchange.py` use this package; nothing
here knows what an upstream, a caller or a key is.
"""
