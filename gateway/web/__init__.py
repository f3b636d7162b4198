"""HTTP in and out: ASGI for the audio path, FastAPI for all that a person or a script administers.

Endpoints read a request, call `proxy` or the store, and render the answer. No rules live here.
"""
