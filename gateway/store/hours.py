"""The hours and days that usage is counted by: UTC, by when a request began."""

from datetime import UTC, datetime


def hour_and_day(began: float) -> tuple[str, str]:
    """The names of the hour and the day in which a request began (seconds since 1970, UTC)."""
    moment = datetime.fromtimestamp(began, UTC)
    return moment.strftime("%Y%m%d%H"), moment.strftime("%Y%m%d")
