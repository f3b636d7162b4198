"""`python -m gateway` is the command `audiogate`."""

from gateway.cli import main

main()
