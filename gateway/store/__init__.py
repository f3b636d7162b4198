"""The only room that talks to Redis or Valkey.

One typed function per Lua script or command, one script per file in `lua/`, and the supervisor of the embedded
server. Rules (what a limit means, what is charged) come in as plain values from `policy/`.
"""
