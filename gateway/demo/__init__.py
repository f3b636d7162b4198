"""A try-out that needs no account: an OpenAI-shaped upstream with real speech engines, and the run around it.

Never imported by the gateway itself; the engines come with the extra `demo`.
"""
