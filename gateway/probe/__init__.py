"""How long an upload lasts, by counting its packets in a child process.

`parent.py` owns the child and its deadline; `child.py` runs inside it, under limits of memory, time and files,
and is the only code that hands an upload to a demuxer.
"""
