"""Dates as people write them: a year, a month, a day, a moment, or "3 weeks ago"."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_ISO = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[T ](\d{1,2})(?::(\d{2})(?::(\d{2}))?)?)?)?)?")
_AGO = re.compile(r"(\d{1,5})\s*(d|w|m|y|days?|weeks?|months?|years?)(?:\s+ago)?")
_STEPS = (None, None, timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1))


def period(text: str, now: datetime | None = None) -> tuple[str, str]:
    """The first moment of what is meant, and the first moment after it, as local ISO 8601 without a zone.

    ``2024``, ``2024-06``, ``2024-06-01``, ``2024-06-01T12:30``; ``today``, ``yesterday``, ``3 weeks ago``, ``10d`` mean
    one day. Raises ``ValueError`` for anything else.
    """
    words = " ".join(text.lower().split())
    if found := _ISO.fullmatch(text.strip()):
        given = [int(part) for part in found.groups() if part is not None]
        first = datetime(*[*given, 1, 1][: max(3, len(given))])  # type: ignore[arg-type]
        return first.isoformat(), _after(first, len(given)).isoformat()
    today = (now or datetime.now()).replace(hour=0, minute=0, second=0, microsecond=0)
    if words in ("today", "yesterday"):
        day = today - timedelta(days=words == "yesterday")
    elif ago := _AGO.fullmatch(words):
        day = _back(today, int(ago[1]), ago[2][0])
    else:
        raise ValueError(f"{text!r} is no date: write 2024, 2024-06, 2024-06-01, yesterday or 3 weeks ago")
    return day.isoformat(), (day + timedelta(days=1)).isoformat()


def _after(first: datetime, given: int) -> datetime:
    if given == 1:
        return first.replace(year=first.year + 1) if first.year < 9999 else datetime.max
    if given == 2:
        return _months(first, 1)
    step = _STEPS[given - 1]
    assert step is not None
    return first + step


def _back(day: datetime, count: int, unit: str) -> datetime:
    if unit in "dw":
        return day - timedelta(days=count * (7 if unit == "w" else 1))
    return _months(day, -count * (12 if unit == "y" else 1))


def _months(day: datetime, count: int) -> datetime:
    """So many months later; a day that the month lacks becomes its last."""
    year, month = divmod(day.year * 12 + day.month - 1 + count, 12)
    if not 1 <= year <= 9999:
        raise ValueError(f"{day:%Y-%m} and {count} months lies outside the calendar")
    for length in (31, 30, 29, 28):
        try:
            return day.replace(year=year, month=month + 1, day=min(day.day, length))
        except ValueError:
            continue
    raise AssertionError(month)
