"""Month numbers: months since year 0, so that an age is a difference of two of them."""

import datetime as dt


def month_number(text: str) -> int:
    """Month number of a text like '2017-02'; raises ValueError for other texts."""
    day = dt.datetime.strptime(text, "%Y-%m")
    return day.year * 12 + day.month - 1


def month_text(number: int) -> str:
    """Text like '2017-02' of a month number."""
    return f"{number // 12:04d}-{number % 12 + 1:02d}"


def days_in_month(number: int) -> int:
    """Number of days of the month."""
    return (month_start(number + 1) - month_start(number)) // 86_400


def month_start(number: int) -> int:
    """First second of the month, in seconds since 1970 (UTC)."""
    return int(dt.datetime(number // 12, number % 12 + 1, 1, tzinfo=dt.UTC).timestamp())
