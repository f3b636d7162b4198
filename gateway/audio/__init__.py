"""The wire format we relay: forms, JSON bodies, containers, usage in answers.

Bytes in, values out. Whatever is not understood here is passed on untouched.
"""
