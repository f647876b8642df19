"""Moments of RFC 3339: what it allows is read, and nothing else that Python would read too."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies

from chassis import rfc3339

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05Z", AT),
        ("2026-01-02t03:04:05z", AT),
        ("2026-01-02T03:04:05+00:00", AT),
        ("2026-01-02T03:04:05-00:00", AT),
        ("2026-01-02T04:34:05+01:30", AT),
        ("2026-01-01T03:05:05-23:59", AT),
        ("2026-01-02T03:04:05.5Z", AT.replace(microsecond=500_000)),
        ("2026-01-02T03:04:05.1234567891Z", AT.replace(microsecond=123_456)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("1990-12-31T23:59:60Z", datetime(1990, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("1990-12-31T15:59:60.25-08:00", datetime(1990, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    ],
)
def test_what_rfc_3339_allows_is_read(text: str, moment: datetime) -> None:
    """Examples of its section 5.8 among them; a leap second becomes the last microsecond before it."""
    found = rfc3339.read(text)
    assert found == moment
    assert found.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04Z",
        "2026-01-02T03Z",
        "2026-W01-5",
        "2026-W01-5T03:04:05Z",
        "2026-002T03:04:05Z",
        "20260102T030405Z",
        "2026-01-02T030405Z",
        "2026-01-02 03:04:05Z",
        "2026-01-02_03:04:05Z",
        "2026-01-02T03:04:05,5Z",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05+01",
        "2026-01-02T03:04:05+0100",
        "2026-01-02T03:04:05+01:00:00",
        "2026-01-02T03:04:05+24:00",
        "2026-01-02T03:04:05+01:60",
        "2026-01-02T03:04:05 Z",
        "2026-01-02T03:04:05Z\n",
        " 2026-01-02T03:04:05Z",
        "2026-1-2T03:04:05Z",
        "26-01-02T03:04:05Z",
        "+2026-01-02T03:04:05Z",
        "2026-13-02T03:04:05Z",
        "2026-02-29T03:04:05Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T03:60:05Z",
        "2026-01-02T03:04:61Z",
        "2026-01-02T03:04:60Z",
        "2026-01-02T23:59:60Z",
        "1990-12-31T23:59:60+01:00",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "9999-12-31T23:59:60Z",
        "1767323045",
        "2026-01-02T03:04:0\N{ARABIC-INDIC DIGIT FIVE}Z",
    ],
)
def test_what_is_none_is_refused(text: str) -> None:
    """Dates alone, local times, weeks, the basic format: ISO 8601 knows them, and each can be meant otherwise."""
    with pytest.raises(ValueError, match=r".+"):
        rfc3339.read(text)


@given(strategies.datetimes(timezones=strategies.just(UTC)))
def test_what_the_shop_writes_is_read(moment: datetime) -> None:
    """Every moment that `isoformat` writes with its offset."""
    assert rfc3339.read(moment.isoformat()) == moment


@given(strategies.text())
def test_whatever_the_text_it_is_a_moment_or_a_value_error(text: str) -> None:
    """No text is a fault of another kind."""
    try:
        assert rfc3339.read(text).tzinfo is UTC
    except ValueError as error:
        assert str(error)
