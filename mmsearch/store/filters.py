"""Conditions on files, and the SQL that finds what meets them. Values are bound, names come from the table below.

A file that does not say (no date, no camera) meets no comparison; ``not`` turns a condition round, so it then holds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias, cast

Kind: TypeAlias = Literal["number", "date", "text"]
Value: TypeAlias = float | str | tuple[str, str]
"""A number, a text, or for a date the period it means: its first moment and the first after it (ISO 8601)."""


class Compare(NamedTuple):
    """``operator``: ``=  !=  <  <=  >  >=``, and for texts ``~`` (contains), all ignoring ASCII case."""

    field: str
    operator: str
    value: Value


class Known(NamedTuple):
    """The file says something about ``field``."""

    field: str


class Near(NamedTuple):
    """Taken within ``km`` kilometres of a place, in degrees."""

    lat: float
    lon: float
    km: float


class Not(NamedTuple):
    part: Condition


class And(NamedTuple):
    parts: tuple[Condition, ...]


class Or(NamedTuple):
    parts: tuple[Condition, ...]


LONGEST_PATTERN = 1000
"""Characters up to which ``~`` is LIKE, which takes half the time of ``instr(lower())`` but refuses 50,000 bytes."""

Condition: TypeAlias = Compare | Known | Near | Not | And | Or


class Field(NamedTuple):
    """What a condition may speak of: its type, its SQL, and for machines that compare by hand the same in Python."""

    kind: Kind
    sql: str
    meaning: str


_MODIFIED = "modified(i.mtime_ns)"
DATE = f"coalesce(i.taken, {_MODIFIED})"
FIELDS = {
    "taken": Field("date", "i.taken", "when a photo was taken, by its own clock"),
    "added": Field("date", "i.added", "when the library came to know the file (UTC)"),
    "modified": Field("date", _MODIFIED, "when the file was last changed"),
    "date": Field("date", DATE, "taken, or modified where the file does not say"),
    "width": Field("number", "i.width", "pixels"),
    "height": Field("number", "i.height", "pixels"),
    "duration_s": Field("number", "i.duration_s", "seconds"),
    "size": Field("number", "i.size", "bytes; 5MB, 2GB"),
    "lat": Field("number", "i.lat", "degrees north"),
    "lon": Field("number", "i.lon", "degrees east"),
    "page": Field("number", "s.page", "of a document, from 1"),
    "camera": Field("text", "i.camera", "maker and model"),
    "caption": Field("text", "i.caption", "words beside the file"),
    "text": Field("text", "s.text", "of a chunk"),
    "modality": Field("text", "s.modality", "image, audio, video or text"),
    "name": Field("text", "name(i.path)", "the file's name without its folder"),
    "ext": Field("text", "ext(i.path)", "the end of the name, without the dot"),
    "path": Field("text", "shown(i.path)", "from the indexed folder on"),
}

FUNCTIONS: dict[str, Callable[..., object]] = {}
"""What the SQL above calls; a connection must know them. Each gets a path (bytes) or nanoseconds."""


def _function(function: Callable[..., object]) -> Callable[..., object]:
    FUNCTIONS[function.__name__] = function
    return function


@_function
def shown(path: bytes) -> str:
    return path.decode(errors="replace")


@_function
def name(path: bytes) -> str:
    return shown(path).rpartition("/")[2]  # type: ignore[attr-defined,no-any-return]


@_function
def ext(path: bytes) -> str:
    stem, dot, end = path.rpartition(b"/")[2].rpartition(b".")
    return end.decode(errors="replace") if stem and dot else ""


@_function
def modified(mtime_ns: int) -> str | None:
    try:
        return datetime.fromtimestamp(mtime_ns / 1e9).isoformat()
    except (OverflowError, ValueError, OSError):
        return None


@_function
def distance_km(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """The great-circle distance in kilometres (haversine, a sphere of 6371 km: off by at most 0.6 %)."""
    a, b = math.radians(lat), math.radians(other_lat)
    half = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(math.radians(other_lon - lon) / 2) ** 2
    return 2 * 6371.0 * math.asin(math.sqrt(min(1.0, half)))


def to_sql(condition: Condition, values: list[object]) -> str:
    """An SQL condition on ``item i JOIN segment s``; its values go to the end of ``values``."""
    match condition:
        case And(parts):
            return joined("AND", [to_sql(part, values) for part in parts])
        case Or(parts):
            return _any(parts, values)
        case Not(part):
            return f"NOT coalesce({to_sql(part, values)}, 0)"
        case Known(field):
            return f"({FIELDS[field].sql} IS NOT NULL)"
        case Near():
            return _near(condition, values)
        case Compare():
            return _compare(condition, values)


def _any(parts: Sequence[Condition], values: list[object]) -> str:
    if (equal_to := _one_of(parts)) is None:
        return joined("OR", [to_sql(part, values) for part in parts])
    values += equal_to
    field = FIELDS[cast(Compare, parts[0]).field]
    collated = " COLLATE NOCASE" if field.kind == "text" else ""
    return f"({field.sql}{collated} IN ({', '.join('?' * len(equal_to))}))"


def _one_of(parts: Sequence[Condition]) -> list[Value] | None:
    """The values, where all parts say that one field equals one: SQLite takes minutes to plan 40,000 alternatives."""
    equal = [part for part in parts if isinstance(part, Compare) and part.operator == "="]
    if len(equal) < len(parts) or len({part.field for part in equal}) != 1 or FIELDS[equal[0].field].kind == "date":
        return None
    return [part.value for part in equal]


def joined(operator: str, parts: Sequence[str]) -> str:
    """SQL conditions as one, halved again and again: in a row each is a level more to SQLite, which takes 1,000."""
    if len(parts) <= 8:
        return "(" + f" {operator} ".join(parts) + ")"
    middle = len(parts) // 2
    return f"({joined(operator, parts[:middle])} {operator} {joined(operator, parts[middle:])})"


def _compare(compare: Compare, values: list[object]) -> str:
    field, operator, value = FIELDS[compare.field], compare.operator, compare.value
    if operator == "~":
        return _contains(field.sql, str(value), values)
    if isinstance(value, tuple):
        return _period(field.sql, operator, value, values)
    values.append(value)
    return f"({field.sql} {operator} ?{' COLLATE NOCASE' if field.kind == 'text' else ''})"


def _contains(sql: str, part: str, values: list[object]) -> str:
    if len(part) > LONGEST_PATTERN or "\0" in part:
        values.append(part)
        return f"(instr(lower({sql}), lower(?)) > 0)"
    values.append("%" + re.sub(r"([\\%_])", r"\\\1", part) + "%")
    return f"({sql} LIKE ? ESCAPE '\\')"


def _period(sql: str, operator: str, period: tuple[str, str], values: list[object]) -> str:
    """Dates are compared with a whole period: ``> 2024-06`` begins in July, ``= 2024-06`` is any day of June."""
    first, after = period
    match operator:
        case "=" | "!=":
            values += [first, after]
            return f"({sql} >= ? AND {sql} < ?)" if operator == "=" else f"({sql} < ? OR {sql} >= ?)"
        case ">=" | "<":
            values.append(first)
            return f"({sql} {operator} ?)"
        case ">":
            values.append(after)
            return f"({sql} >= ?)"
        case _:
            values.append(after)
            return f"({sql} < ?)"


def _near(place: Near, values: list[object]) -> str:
    """A box first, which costs SQLite little, and the distance only inside it."""
    height = math.degrees(place.km / 6371.0) + 1e-9
    values += [place.lat - height, place.lat + height]
    box = "i.lat BETWEEN ? AND ?"
    edge = abs(place.lat) + height
    if edge < 89:
        width = math.degrees(math.asin(min(1.0, math.sin(math.radians(height)) / math.cos(math.radians(place.lat)))))
        # Across the date line the box would have two parts; there the distance alone decides.
        if abs(place.lon) + width < 180:
            box += " AND i.lon BETWEEN ? AND ?"
            values += [place.lon - width - 1e-9, place.lon + width + 1e-9]
    values += [place.lat, place.lon, place.km]
    return f"({box} AND distance_km(i.lat, i.lon, ?, ?) <= ?)"
