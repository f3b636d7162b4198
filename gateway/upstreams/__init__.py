"""One file per upstream kind: its dialect, and the table KINDS that names them.

A dialect says where and how a request goes out and what an answer means. It never sends anything.
"""

from collections.abc import Mapping

from gateway.upstreams import newapi, openai
from gateway.upstreams.base import Kind

KINDS: Mapping[str, Kind] = {module.KIND.name: module.KIND for module in (openai, newapi)}
