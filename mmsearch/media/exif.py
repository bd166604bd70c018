"""What a picture's EXIF says. EXIF is written by anyone: every value is checked, none can fail the picture."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

_MAKE, _MODEL, _ORIENTATION, _EXIF_IFD, _GPS_IFD = 0x010F, 0x0110, 0x0112, 0x8769, 0x8825
_TAKEN, _DIGITIZED = 0x9003, 0x9004
_DATE = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class ExifFacts:
    """Orientation 1 to 8; capture time as local ISO 8601; camera; decimal degrees, south and west negative."""

    orientation: int = 1
    taken: str | None = None
    camera: str | None = None
    lat: float | None = None
    lon: float | None = None


def read_exif(image: Image) -> ExifFacts:
    """The facts in ``image``'s EXIF; the defaults for whatever is missing or makes no sense."""
    try:
        exif = image.getexif()
    except Exception:  # hostile bytes raise nearly anything
        return ExifFacts()
    main = _ifd(exif, None)
    detail, gps = _ifd(exif, _EXIF_IFD), _ifd(exif, _GPS_IFD)
    orientation = main.get(_ORIENTATION)
    lat, lon = _degrees(gps, 1, "S", 90), _degrees(gps, 3, "W", 180)
    return ExifFacts(
        orientation=orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1,
        taken=_time(detail.get(_TAKEN)) or _time(detail.get(_DIGITIZED)),
        camera=_camera(_text(main.get(_MAKE)), _text(main.get(_MODEL))),
        lat=lat if lon is not None else None,
        lon=lon if lat is not None else None,
    )


def _ifd(exif: Any, tag: int | None) -> Mapping[int, Any]:
    try:
        return dict(exif if tag is None else exif.get_ifd(tag))
    except Exception:
        return {}


def _text(value: object) -> str:
    """A tag as one clean line: no control characters, no runs of blanks, at most 64 characters."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    line = value.split("\0")[0]
    return " ".join("".join(c if c.isprintable() else " " for c in line).split())[:64].strip()


def _camera(make: str, model: str) -> str | None:
    """The maker is not said twice: ``NIKON CORPORATION`` and ``NIKON D90`` give ``NIKON D90``."""
    if make and not model.lower().startswith(make.split(maxsplit=1)[0].lower()):
        return f"{make} {model}".strip()
    return model or None


def _time(value: object) -> str | None:
    match = _DATE.match(_text(value))
    try:
        return datetime.fromisoformat("{}-{}-{}T{}:{}:{}".format(*match.groups())).isoformat() if match else None
    except ValueError:
        return None


def _degrees(gps: Mapping[int, Any], tag: int, negative: str, limit: int) -> float | None:
    """Degrees, minutes and seconds at ``tag + 1`` with their hemisphere at ``tag``, as decimal degrees."""
    try:
        parts = [float(part) for part in gps[tag + 1]]
        value: float = sum(part / 60.0**i for i, part in enumerate(parts[:3]))
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    if not parts or not math.isfinite(value) or not 0 <= value <= limit:
        return None
    return round(-value if _text(gps.get(tag)).upper().startswith(negative) else value, 7)
