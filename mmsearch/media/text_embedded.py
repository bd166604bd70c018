"""What a picture says that it shows: captions in EXIF, IPTC, XMP and PNG. None of it can fail the picture."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mmsearch.media.text_captions import joined, xmp

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_DESCRIPTION, _EXIF_IFD, _COMMENT = 0x010E, 0x8769, 0x9286
_WINDOWS = (0x9C9B, 0x9C9C, 0x9C9E, 0x9C9F)
"""Title, comment, keywords and subject as Windows writes them, in UTF-16."""
_IPTC = ((2, 5), (2, 120), (2, 25))
"""Title, caption, keywords."""
_PNG = ("Title", "Description", "Comment")
_CODES = {b"ASCII": "ascii", b"UNICODE": "utf-16-le"}

_WRITTEN_BY_MACHINES = frozenset(
    """
olympus digital camera|samsung|sony dsc|minolta digital camera|konica minolta digital camera|digital camera|dcim|default
kodak digital still camera|dig|exif_jpeg_picture|created with gimp|screenshot|untitled|picture|image
""".strip()
    .replace("\n", "|")
    .split("|")
)


def caption(image: ImageFile) -> str | None:
    """The captions in an opened picture, a line each; None: it has none."""
    found: list[str] = []
    for read in (_exif, _iptc, _xmp, _png):
        with suppress(Exception):  # hostile bytes raise nearly anything
            found += read(image)
    return joined([text for text in found if text.strip().lower() not in _WRITTEN_BY_MACHINES])


def _exif(image: ImageFile) -> list[str]:
    exif = image.getexif()
    found = [_string(exif.get(_DESCRIPTION))]
    found += [bytes(exif[tag]).decode("utf-16-le", "replace").rstrip("\0") for tag in _WINDOWS if tag in exif]
    comment = exif.get_ifd(_EXIF_IFD).get(_COMMENT)
    if isinstance(comment, bytes) and (code := _CODES.get(comment[:8].rstrip(b"\0"))):
        found.append(comment[8:].decode(code, "replace").strip("\0"))
    return found


def _iptc(image: ImageFile) -> list[str]:
    from PIL.IptcImagePlugin import getiptcinfo

    fields = getiptcinfo(image) or {}
    values = [fields.get(key, b"") for key in _IPTC]
    return [_string(one) for value in values for one in (value if isinstance(value, list) else [value])]


def _xmp(image: ImageFile) -> list[str]:
    return xmp(_string(image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")))


def _png(image: ImageFile) -> list[str]:
    return [_string(image.info.get(key)) for key in _PNG] if image.format == "PNG" else []


def _string(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value.decode("latin-1")
    return value if isinstance(value, str) else ""
