"""Decisions: which upstream, whether again, how much, who.

Plain functions over frozen values; what they need of the world (the time, a draw, health) comes in as an argument.
Called by `proxy.py` and the rooms that do. Nothing here does I/O.
"""
