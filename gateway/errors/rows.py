"""The table of everything a caller can be told went wrong; one row per error.

`web/errors.py` renders it in OpenAI's envelope; nobody else chooses a status.
"""

from collections.abc import Mapping

from gateway.errors import house, requests
from gateway.errors.row import Row

ROWS: Mapping[str, Row] = {**requests.ROWS, **house.ROWS}
