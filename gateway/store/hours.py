"""The hours and days that usage is counted by: UTC, by when a request began."""

from datetime import UTC, datetime
from functools import lru_cache


def hour_and_day(began: float) -> tuple[str, str]:
    """The names of the hour and the day in which a request began (seconds since 1970, UTC)."""
    return _names(began // 3600)


@lru_cache
def _names(hour: float) -> tuple[str, str]:
    moment = datetime.fromtimestamp(hour * 3600, UTC)
    return moment.strftime("%Y%m%d%H"), moment.strftime("%Y%m%d")
