"""Dates in words: each is a period, from its first moment to the first after it."""

from __future__ import annotations

from datetime import datetime

import pytest

from mmsearch.retrieval.dates import period

NOW = datetime(2024, 3, 31, 15, 0)  # a Sunday


@pytest.mark.parametrize(
    ("text", "first", "after"),
    [
        ("2024", "2024-01-01", "2025-01-01"),
        ("2024-12", "2024-12-01", "2025-01-01"),
        ("2024-02-29", "2024-02-29", "2024-03-01"),
        ("2024-06-01T12:30", "2024-06-01T12:30", "2024-06-01T12:31"),
        ("yesterday", "2024-03-30", "2024-03-31"),
        ("Today", "2024-03-31", "2024-04-01"),
        ("1 month ago", "2024-02-29", "2024-03-01"),
        ("2 weeks ago", "2024-03-17", "2024-03-18"),
        ("10d", "2024-03-21", "2024-03-22"),
        ("1 year ago", "2023-03-31", "2023-04-01"),
        ("this week", "2024-03-25", "2024-04-01"),
        ("last week", "2024-03-18", "2024-03-25"),
        ("this month", "2024-03-01", "2024-04-01"),
        ("Last  Month", "2024-02-01", "2024-03-01"),
        ("this year", "2024-01-01", "2025-01-01"),
        ("last year", "2023-01-01", "2024-01-01"),
        ("June 2023", "2023-06-01", "2023-07-01"),
        ("2023 june", "2023-06-01", "2023-07-01"),
        ("Sept. 2023", "2023-09-01", "2023-10-01"),
        ("dec 2023", "2023-12-01", "2024-01-01"),
        ("5 June 2023", "2023-06-05", "2023-06-06"),
        ("June 5th, 2023", "2023-06-05", "2023-06-06"),
        ("june", "2023-06-01", "2023-07-01"),
        ("march", "2024-03-01", "2024-04-01"),
        ("last march", "2023-03-01", "2023-04-01"),
        ("last february", "2024-02-01", "2024-03-01"),
        ("this june", "2024-06-01", "2024-07-01"),
        ("may", "2023-05-01", "2023-06-01"),
        ("24 december", "2023-12-24", "2023-12-25"),
        ("sunday", "2024-03-31", "2024-04-01"),
        ("last sunday", "2024-03-24", "2024-03-25"),
        ("last fri", "2024-03-29", "2024-03-30"),
        ("monday", "2024-03-25", "2024-03-26"),
    ],
)
def test_a_date_is_a_period(text, first, after):
    assert period(text, NOW) == (*(datetime.fromisoformat(day).isoformat() for day in (first, after)),)


def test_a_leap_day_is_the_newest_there_was():
    assert period("29 february", datetime(1904, 1, 1))[0] == "1896-02-29T00:00:00"  # 1900 had none
    assert period("29 february", NOW)[0] == "2024-02-29T00:00:00"


@pytest.mark.parametrize("text", ["9999", "9999-12", "9999-12-31", "9999-12-31T23:59:59", "December 9999"])
def test_the_end_of_time_is_no_error(text):
    assert period(text, NOW)[1] == datetime.max.isoformat()


@pytest.mark.parametrize("month", range(1, 13))
def test_months_in_words_fit_the_calendar_on_any_day(month):
    now = datetime(2024, month, 1, 0, 0)
    assert period("this month", now) == period(f"2024-{month:02}") == period(f"{now:%B}", now)
    assert period("last month", now)[1] == period("this month", now)[0]
    assert period("last year", now)[1] == period("this year", now)[0]
    assert period("last week", now)[1] == period("this week", now)[0] <= now.isoformat()


@pytest.mark.parametrize(
    "text",
    [
        *("soon", "2024-13", "2023-02-29", "24-01", "", "99999 years ago", "someday", "mayor", "this monday"),
        *("32 June", "June 2023 2024", "30 february", "last June 2023", "June of 2023", "monday 2023"),
    ],
)
def test_what_is_no_date_is_refused(text):
    with pytest.raises(ValueError):
        period(text, NOW)
