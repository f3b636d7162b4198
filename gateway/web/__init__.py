"""HTTP in and out: straight on the connection for audio, FastAPI for all that a person or a script administers.

Endpoints read a request, call `proxy` or the store, and render the answer. No rules live here.
"""
