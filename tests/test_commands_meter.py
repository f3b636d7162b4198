"""The bar that a terminal shows of a limit."""

import io

import pytest
from rich.console import Console

from gateway.cli import terms
from gateway.cli.meter import CELLS, FREE, FULL, HELD, bar, per_cent
from gateway.policy.limits import Limit
from gateway.store.roll import Standing


@pytest.mark.parametrize(
    ("used", "reserved", "amount", "share"),
    [
        (0, 0, 10, 0),
        (1, 0, 1_000_000, 1),
        (999_999, 0, 1_000_000, 99),
        (50, 0, 100, 50),
        (50, 25, 100, 75),
        (100, 0, 100, 100),
        (130, 0, 100, 100),
        (0, 100, 100, 100),
        (0, 0, 0, 100),
        (-5, 0, 100, 0),
    ],
)
def test_nothing_and_everything_are_told_only_where_they_are_so(
    used: int, reserved: int, amount: int, share: int
) -> None:
    assert per_cent(used, reserved, amount) == share
    cells = bar(used, reserved, amount).plain
    assert cells.endswith(f" {share:3} %")
    drawn = cells[:CELLS]
    assert len(drawn) == CELLS
    assert set(drawn) <= {FULL, HELD, FREE}
    assert (FREE not in drawn) == (share == 100)
    assert (set(drawn) == {FREE}) == (share == 0)


def test_what_is_reserved_is_drawn_beside_what_is_used() -> None:
    cells = bar(50, 25, 100).plain
    assert cells[:CELLS] == FULL * 10 + HELD * 5 + FREE * 5


def test_the_colour_tells_how_near_the_end_is() -> None:
    colours = [str(bar(used, 0, 100).spans[0].style) for used in (79, 80, 100)]
    assert colours == ["green", "yellow", "red"]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_is_shown_the_bar_and_a_file_is_not(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    out = io.StringIO()
    screen = Console(file=out, force_terminal=terminal, width=120, markup=False, highlight=False, no_color=True)
    monkeypatch.setattr(terms, "console", lambda: screen)
    rate = Limit("requests", "minute", 60, burst=10)
    usd = Limit("usd", "month", 20_000_000)
    terms.print_standing([Standing(usd, 5_000_000, 0, 0.0), Standing(rate, 10, 0, None)], nothing="none")
    said = out.getvalue()
    assert "usd/month=20" in said
    assert ("25 %" in said, "100 %" in said, FULL in said) == (terminal,) * 3
