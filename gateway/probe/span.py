"""Which bytes of a descriptor are meant: how parent and child write it."""

import struct

SPAN = struct.Struct("<QQ")  # offset and size, in bytes
