"""Where the steps of a request stand on a line of time."""

from gateway.pages.timeline import LEAST, STEPS, WIDTH, spent, timeline


def test_steps_stand_behind_each_other() -> None:
    rows = timeline({"steps_ms": "authenticate=10.0 receive=30.0 attempt=50.0 relay=5.0 settle=5.0"})
    assert [(row.name, row.took_ms, row.x, row.width) for row in rows] == [
        ("authenticate", 10.0, 0.0, 100.0),
        ("receive", 30.0, 100.0, 300.0),
        ("attempt", 50.0, 400.0, 500.0),
        ("relay", 5.0, 900.0, 50.0),
        ("settle", 5.0, 950.0, 50.0),
    ]
    assert all(row.what == STEPS[row.name] and not row.verdict for row in rows)


def test_attempts_stand_within_their_step_with_what_they_cost() -> None:
    text = "authenticate=20.0 attempt=80.0(a:busy:0.0+10.0,b:failed:20.0+30.0,a:busy:55.0+5.0,b:served:60.0+20.0)"
    rows = timeline({"steps_ms": text, "failed": "a:busy:0 b:failed:600 a:busy:7"})
    assert [(row.name, row.verdict, row.x, row.width, row.cost) for row in rows[2:]] == [
        ("a", "busy", 200.0, 100.0, 0),
        ("b", "failed", 400.0, 300.0, 600),
        ("a", "busy", 750.0, 50.0, 7),
        ("b", "served", 800.0, 200.0, 0),
    ]
    assert (rows[0].cost, rows[1].verdict) == (0, "")


def test_the_shortest_can_be_seen_and_none_leaves_the_line() -> None:
    rows = timeline({"steps_ms": "authenticate=0.0 relay=99999.0 settle=0.0"})
    assert [row.width for row in rows] == [LEAST, WIDTH, LEAST]
    assert all(row.x >= 0 and row.x + row.width <= WIDTH for row in rows)
    assert [row.width for row in timeline({"steps_ms": "authenticate=0.0"})] == [LEAST]


def test_a_step_of_a_later_version_is_shown_all_the_same() -> None:
    (row,) = timeline({"steps_ms": "dream=1.0"})
    assert (row.name, row.what) == ("dream", "")


def test_older_records_show_what_is_known() -> None:
    rows = timeline({"latency_ms": "100", "first_byte_ms": "40"})
    assert [(row.name, row.took_ms, row.x, row.width) for row in rows] == [
        ("first byte", 40.0, 0.0, 400.0),
        ("answer", 60.0, 400.0, 600.0),
    ]
    assert [row.took_ms for row in timeline({"latency_ms": "100", "first_byte_ms": "0"})] == [0.0, 100.0]
    assert [row.took_ms for row in timeline({"latency_ms": "3", "first_byte_ms": "4"})] == [4.0, 0.0]
    (row,) = timeline({"latency_ms": "100", "first_byte_ms": "-1"})
    assert (row.name, row.took_ms, row.width) == ("in all", 100.0, WIDTH)
    assert timeline({"error": "expired"}) == []


def test_failed_attempts_are_read_and_nonsense_is_passed_over() -> None:
    assert spent({"failed": "a:busy:0 b:timeout:12"}) == [("a", "busy", 0), ("b", "timeout", 12)]
    assert spent({"failed": "a b:c c:d:e f:g:-1 ::"}) == []
    assert spent({}) == []
