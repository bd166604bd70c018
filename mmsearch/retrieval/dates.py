"""Dates as people write them: ``2024-06``, ``June 2023``, ``last week``, ``3 weeks ago``; each a period."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_ISO = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[T ](\d{1,2})(?::(\d{2})(?::(\d{2}))?)?)?)?)?")
_AGO = re.compile(r"(\d{1,5})\s*(d|w|m|y|days?|weeks?|months?|years?)(?:\s+ago)?")
_CALENDAR = re.compile(r"(this|last) (week|month|year)")
_STEPS = (None, None, timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1))

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NAMED = re.compile(r"(?:\b(this|last) )?\b([a-z]{3,})\b\.?")
_NUMBER = re.compile(r"(\d{1,4})(?:st|nd|rd|th)?")


def period(text: str, now: datetime | None = None) -> tuple[str, str]:
    """The first moment of what is meant, and the first moment after it, as local ISO 8601 without a zone.

    ``2024``, ``2024-06``, ``2024-06-01``, ``2024-06-01T12:30``; ``today``, ``yesterday``, ``3 weeks ago``, ``10d`` (one
    day); ``this week`` (from Monday), ``last month``, ``this year``; ``June 2023``, ``5 June 2023``; ``june`` and
    ``monday`` (the newest that has begun), ``last june`` (the newest that is over). Raises ``ValueError`` for anything
    else.
    """
    today = (now or datetime.now()).replace(hour=0, minute=0, second=0, microsecond=0)
    words = " ".join(text.lower().replace(",", " ").split())
    try:
        if found := _ISO.fullmatch(text.strip()):
            given = [int(part) for part in found.groups() if part is not None]
            first = datetime(*[*given, 1, 1][: max(3, len(given))])  # type: ignore[arg-type]
            after = _after(first, len(given))
        else:
            first, after = _spoken(words, today)
    except OverflowError:
        raise ValueError(f"{text!r} lies outside the calendar") from None
    return first.isoformat(), after.isoformat()


def _spoken(words: str, today: datetime) -> tuple[datetime, datetime]:
    if words in ("today", "yesterday"):
        return _day(today - timedelta(days=words == "yesterday"))
    if ago := _AGO.fullmatch(words):
        return _day(_back(today, int(ago[1]), ago[2][0]))
    if found := _CALENDAR.fullmatch(words):
        return _current(today, found[2], back=found[1] == "last")
    if (found := _NAMED.search(words)) and (name := _whole(found[2])):
        rest = [*words[: found.start()].split(), *words[found.end() :].split()]
        if name in _MONTHS:
            return _month(_MONTHS.index(name) + 1, rest, found[1], today)
        if not rest and found[1] != "this":
            back = (today.weekday() - _WEEKDAYS.index(name)) % 7
            return _day(today - timedelta(days=back or 7 * (found[1] == "last")))
    raise ValueError(f"{words!r} is no date: write 2024, 2024-06-01, June 2023, last week, yesterday or 3 weeks ago")


def _whole(name: str) -> str | None:
    """The month or weekday that a name means, or its first three letters or more."""
    return next((one for one in _MONTHS + _WEEKDAYS if one.startswith(name)), None)


def _current(today: datetime, unit: str, back: bool) -> tuple[datetime, datetime]:
    """The week (from Monday), month or year that a day lies in, or the one before."""
    if unit == "week":
        monday = today - timedelta(days=today.weekday() + 7 * back)
        return monday, monday + timedelta(days=7)
    first = today.replace(day=1) if unit == "month" else today.replace(day=1, month=1)
    length = 1 if unit == "month" else 12
    first = _months(first, -length * back)
    return first, _months(first, length)


def _month(month: int, rest: list[str], which: str | None, today: datetime) -> tuple[datetime, datetime]:
    """A month, or with a number up to 31 among ``rest`` one of its days; with four digits in that year."""
    numbers = [found[1] for word in rest if (found := _NUMBER.fullmatch(word))]
    years = [int(number) for number in numbers if len(number) == 4]
    days = [int(number) for number in numbers if len(number) < 3]
    if len(years) + len(days) < len(rest) or len(years) > 1 or len(days) > 1 or (years and which):
        raise ValueError(f"{' '.join(rest)!r} beside a month: write June 2023 or 5 June 2023")
    length = 3 if days else 2

    def of(year: int) -> tuple[datetime, datetime]:
        first = datetime(year, month, days[0] if days else 1)
        return first, _after(first, length)

    if years or which == "this":
        return of(years[0] if years else today.year)
    for year in range(today.year, today.year - 9, -1):  # 29 February may be eight years away
        try:
            first, after = of(year)
        except ValueError:
            continue
        if (after if which == "last" else first) <= today:
            return first, after
    raise ValueError(f"{_MONTHS[month - 1]} has no day {days[0]}")


def _day(day: datetime) -> tuple[datetime, datetime]:
    return day, _after(day, 3)


def _after(first: datetime, given: int) -> datetime:
    """The first moment after a year, month, day, ... (1, 2, 3, ...); at the end of time its last moment."""
    try:
        if given <= 2:
            return _months(first, 12 if given == 1 else 1)
        step = _STEPS[given - 1]
        assert step is not None
        return first + step
    except (OverflowError, ValueError):
        return datetime.max


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
