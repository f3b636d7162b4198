"""A bar of how far a limit is used."""

from rich.text import Text

CELLS = 20
FULL, HELD, FREE = "█", "▒", "░"
ALMOST = 80  # per cent, from where on it is shown in yellow; from 100 on in red


def per_cent(used: int, reserved: int, amount: int) -> int:
    """Of a limit, what is used and reserved: 0 only where nothing is, 100 only where all of it is."""
    taken = used + reserved
    if amount <= 0 or taken >= amount:
        return 100
    return min(99, max(1, round(100 * taken / amount))) if taken > 0 else 0


def bar(used: int, reserved: int, amount: int) -> Text:
    """What is used, what is reserved by requests under way, and what is left, as one line of CELLS cells."""
    share = per_cent(used, reserved, amount)
    taken = CELLS if share == 100 else min(CELLS - 1, max(1, round(CELLS * share / 100))) if share else 0
    held = min(taken, round(CELLS * reserved / amount)) if amount > 0 else 0
    colour = "red" if share == 100 else "yellow" if share >= ALMOST else "green"
    return Text.assemble(
        (FULL * (taken - held), colour), (HELD * held, colour), (FREE * (CELLS - taken), "dim"), f" {share:3} %"
    )
