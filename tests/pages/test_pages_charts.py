"""Where the bars of a chart stand."""

import pytest

from gateway.pages.charts import HEIGHT, MOST_SERIES, OTHERS, WIDTH, Chart, chart, labels, nice

DAYS = ["01-01", "01-02", "01-03", "01-04"]


def say(amount: float) -> str:
    return f"{amount:g}"


def drawn(amounts: dict[tuple[str, str], float], at: list[str] | None = None) -> Chart:
    return chart("Requests", DAYS if at is None else at, amounts, say=say)


def test_bars_are_stacked_from_the_ground_up_the_largest_series_first() -> None:
    found = drawn({("01-01", "a"): 1, ("01-01", "b"): 2, ("01-03", "b"): 1})
    assert found.series == ("b", "a")
    first, second, third, fourth = found.bars
    assert (second.parts, fourth.parts) == ((), ())
    assert [(part.series, part.y, part.height) for part in first.parts] == [(0, 100.0, 100.0), (1, 50.0, 50.0)]
    (only,) = third.parts
    assert (only.series, only.y, only.height) == (0, 150.0, 50.0)
    assert [bar.x for bar in found.bars] == [0, 240, 480, 720]
    assert all(bar.step == WIDTH / 4 for bar in found.bars)
    assert all(bar.x < bar.at and bar.at + bar.width < bar.x + bar.step for bar in found.bars)


def test_what_a_bar_says_is_all_that_it_shows() -> None:
    found = drawn({("01-01", "a"): 1, ("01-01", "b"): 2, ("01-02", "b"): 4})
    assert found.summary == "7 in all"
    assert found.bars[0].told == "01-01: 3\nb: 2\na: 1"
    assert found.bars[1].told == "01-02: 4\nb: 4"
    assert found.bars[2].told == "01-03: 0"
    assert drawn({("01-01", "a"): 1}).bars[0].told == "01-01: 1"  # one series needs no name


def test_the_scale_ends_above_the_highest_bar_and_begins_at_nothing() -> None:
    found = drawn({("01-01", "a"): 3})
    assert found.ticks == ("4", "3", "2", "1", "0")
    assert found.lines == (0, 50, 100, 150, HEIGHT)


def test_from_the_eighth_on_series_are_added_up() -> None:
    amounts = {("01-01", f"m{number}"): float(20 - number) for number in range(12)}
    found = drawn(amounts)
    assert found.series == (*(f"m{number}" for number in range(MOST_SERIES)), OTHERS)
    assert found.bars[0].told.endswith(f"{OTHERS}: {sum(20 - number for number in range(MOST_SERIES, 12))}")
    assert sum(part.height for part in found.bars[0].parts) == pytest.approx(HEIGHT * sum(amounts.values()) / 200)
    eight = drawn({("01-01", f"m{number}"): 1.0 for number in range(MOST_SERIES + 1)})
    assert OTHERS not in eight.series
    assert len(eight.series) == MOST_SERIES + 1


def test_what_is_counted_is_never_halved_on_the_scale() -> None:
    for amount, ticks in ((1.0, "43210"), (10.0, ["12", "9", "6", "3", "0"]), (30.0, ["40", "30", "20", "10", "0"])):
        found = chart("t", ["a"], {("a", "x"): amount}, say=lambda value: f"{value:g}", least=1)
        assert found.ticks == tuple(ticks)


def test_series_keep_the_order_of_another_chart() -> None:
    amounts = {("a", "x"): 1.0, ("a", "y"): 2.0, ("a", "z"): 3.0}
    assert chart("t", ["a"], amounts, say=str).series == ("z", "y", "x")
    assert chart("t", ["a"], amounts, say=str, like=("y", "w", "x")).series == ("y", "x", "z")


def test_a_series_that_is_called_others_keeps_its_own_amount() -> None:
    amounts = {("01-01", f"m{number}"): 1.0 for number in range(12)} | {("01-01", OTHERS): 100.0}
    found = drawn(amounts)
    assert found.series[0] == found.series[-1] == OTHERS
    assert found.bars[0].told.splitlines()[1] == f"{OTHERS}: 100"
    assert found.bars[0].told.splitlines()[-1] == f"{OTHERS}: 6"


def test_times_that_are_not_asked_for_are_left_out() -> None:
    found = drawn({("01-01", "a"): 1, ("02-01", "a"): 5})
    assert [len(bar.parts) for bar in found.bars] == [1, 0, 0, 0]
    assert found.summary == "1 in all"


def test_nothing_is_an_empty_chart() -> None:
    found = drawn({})
    assert (found.series, found.summary) == ((), "0 in all")
    assert found.ticks == ("1", "0.75", "0.5", "0.25", "0")
    assert [bar.told for bar in found.bars] == [f"{day}: 0" for day in DAYS]
    none = drawn({}, [])
    assert (none.bars, none.labels) == ((), ())


def test_many_times_and_series_are_drawn_at_once() -> None:
    at = [f"{hour:03}" for hour in range(744)]
    found = drawn({(hour, f"m{number}"): 1.0 for hour in at for number in range(100)}, at)
    assert len(found.bars) == 744
    assert all(bar.width > 0 for bar in found.bars)
    assert found.bars[-1].x + found.bars[-1].step == pytest.approx(WIDTH, abs=0.01)
    assert found.summary == "74400 in all"


@pytest.mark.parametrize(
    ("most", "end"),
    [
        *((-1, 1), (0, 1), (1, 1), (2, 2), (3, 4), (5, 5), (6, 8), (9, 10), (10, 10), (11, 20), (0.3, 0.4), (1e9, 1e9)),
        (0.1 + 0.2, 0.4),
        (1.0000000001, 1),  # that is rounding, not more
    ],
)
def test_scales_end_at_round_numbers(most: float, end: float) -> None:
    assert nice(most) == pytest.approx(end)


def test_labels_stand_below_the_middles_of_their_bars_and_the_last_one_is_there() -> None:
    assert [(label.text, label.at) for label in labels(DAYS)] == list(zip(DAYS, (12.5, 37.5, 62.5, 87.5), strict=True))
    many = labels([str(hour) for hour in range(24)])
    assert [label.text for label in many] == ["3", "7", "11", "15", "19", "23"]
    assert labels([]) == ()
