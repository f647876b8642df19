"""Moments as RFC 3339 writes them, and no other way: ISO 8601 has many more, which Python reads too."""

import re
from datetime import UTC, datetime, timedelta

# Section 5.6: `date-time`, whose letters may be small. The space that a person would like better is no part of it.
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt](?:[01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(?:\.\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_SECOND = slice(17, 19)


def read(text: str) -> datetime:
    """The moment, in UTC, to the microsecond; of a leap second, the last microsecond before it.

    Raises:
        ValueError: it is no `date-time`, or none that a calendar of four digits has.
    """
    found = _DATE_TIME.fullmatch(text)
    if found is None:
        raise ValueError("not a date-time of RFC 3339")
    is_leap = found[1] == "60"
    if is_leap:
        text = f"{text[: _SECOND.start]}59{text[_SECOND.stop :]}"
    try:
        moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is not UTC:
            moment = moment.astimezone(UTC)
        if is_leap:
            return _before_leap(moment)
    except OverflowError:
        raise ValueError("outside of the years 1 to 9999") from None
    return moment


def _before_leap(moment: datetime) -> datetime:
    """Leap seconds stand at the end of a month of UTC's (appendix D), and Python has no room for them."""
    following = moment + timedelta(seconds=1)
    if (following.day, following.hour, following.minute) != (1, 0, 0):
        raise ValueError("no leap second is there")
    return moment.replace(microsecond=999_999)
