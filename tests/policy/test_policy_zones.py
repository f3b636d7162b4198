import random
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.policy.zones import FIRST, LAST, known, offsets

ZONES = [
    *(
        "UTC",
        "Asia/Shanghai",
        "Asia/Kolkata",
        "Asia/Kathmandu",
        "Europe/Berlin",
        "America/New_York",
        "America/Santiago",
    ),
    *("Australia/Lord_Howe", "Africa/Cairo", "Asia/Beirut", "Africa/Casablanca", "Pacific/Apia", "Pacific/Chatham"),
]


def offset_at(found: tuple[int, ...], moment: int) -> int:
    """What a reader of `offsets` takes to be the offset at a moment."""
    past = [after for at, after in zip(found[1::2], found[2::2], strict=True) if at <= moment]
    return past[-1] if past else found[0]


@pytest.mark.parametrize("name", ["UTC", "Asia/Shanghai", "America/Argentina/Buenos_Aires", "Etc/GMT+12"])
def test_a_zone_is_known_by_its_name(name: str) -> None:
    assert known(name)


@pytest.mark.parametrize("name", ["", "Asia", "Asia/Beijing", "asia/shangha", "../Asia/Shanghai", "/etc/passwd", "A\0"])
def test_what_is_no_zone_is_not_known(name: str) -> None:
    assert not known(name)


@pytest.mark.parametrize("name", ZONES)
def test_offsets_are_those_of_the_database_at_any_moment(name: str) -> None:
    draw, zone, found = random.Random(name), ZoneInfo(name), offsets(name)
    changes = found[1::2]
    moments = [draw.randrange(int(FIRST.timestamp()), int(LAST.timestamp())) for _ in range(3000)]
    moments += [change + step for change in changes for step in (-86_400, -3600, -1, 0, 1, 3600, 86_400)]
    wrong = []
    for moment in moments:
        offset = datetime.fromtimestamp(moment, UTC).astimezone(zone).utcoffset()
        if offset is None or offset.total_seconds() != offset_at(found, moment):
            wrong.append(moment)
    assert wrong == []
    assert list(changes) == sorted(set(changes))
    assert all(one != other for one, other in zip(found[::2], found[2::2], strict=False)), (
        "each change changes something"
    )


def test_a_zone_without_changes_is_one_offset() -> None:
    assert offsets("UTC") == (0,)
    assert offsets("Asia/Shanghai") == (28_800,)
    assert offsets("Asia/Kathmandu") == (20_700,)


def test_changes_of_a_zone_are_known_to_the_second() -> None:
    spring, autumn = datetime(2025, 3, 30, 1, tzinfo=UTC), datetime(2025, 10, 26, 1, tzinfo=UTC)
    assert offsets("Europe/Berlin")[:5] == (3600, int(spring.timestamp()), 7200, int(autumn.timestamp()), 3600)
    assert len(offsets("Europe/Berlin")) == 1 + 2 * 2 * 21, "two changes a year"
