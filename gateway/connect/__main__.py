"""`python -m gateway.connect > docs/connect.md`."""

import sys

from gateway.connect.document import page

sys.stdout.write(page())
