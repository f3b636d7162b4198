"""Decisions: which upstream, whether again, how much, who.

Plain functions over values that nobody changes; what they need of the world (the time, a draw, health) comes in as an
argument. Those made for each request are not `frozen`: that would make them three times as dear.
Called by `proxy.py` and the rooms that do. Nothing here does I/O.
"""
