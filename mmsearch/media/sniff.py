"""What kind of file is this? Decided by its first bytes; of texts, the name says which are documents.

Signatures come from the formats' own specifications. Kinds that mmsearch does not index yet are named all the
same, so that a skipped file says why, and so that a later version only has to add its decoder.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from mmsearch.errors import MissingExtra, Rejected, Unsupported
from mmsearch.media.text_decode import encoding_of
from mmsearch.types import EncoderSpec, Modality

HEAD = 64 * 1024
"""How many bytes from the start are enough to tell."""

IMAGE_FORMATS = frozenset({"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIC"})
"""The formats that ``media.image`` decodes."""

LIBSNDFILE_FORMATS = frozenset({"WAV", "FLAC", "AIFF", "Ogg", "MP3", "AU"})
"""The sounds that libsndfile reads; FFmpeg reads the others."""

AUDIO_FORMATS = LIBSNDFILE_FORMATS | {"M4A", "AAC", "WMA", "AMR", "CAF", "APE", "WavPack"}
VIDEO_FORMATS = frozenset({"MP4", "Matroska", "AVI", "FLV", "MPEG", "MPEG-TS", "WMV", "Ogg"})


DOCUMENTS = {
    **dict.fromkeys((b".txt", b".text"), "text"),
    **dict.fromkeys((b".md", b".markdown"), "Markdown"),
    b".rst": "reStructuredText",
    **dict.fromkeys((b".html", b".htm", b".xhtml"), "HTML"),
    b".csv": "CSV",
    b".tsv": "TSV",
    b".json": "JSON",
    **dict.fromkeys((b".jsonl", b".ndjson"), "JSON lines"),
}
"""Which texts are documents, by how their names end, and of which format: content can't tell a letter from a program.

Texts of other names (programs, logs, settings) are skipped. A PDF is known by its content.
"""
DOCUMENT_FORMATS = frozenset(DOCUMENTS.values()) | {"PDF"}

_INDEXED = {
    Modality.IMAGE: IMAGE_FORMATS,
    Modality.AUDIO: AUDIO_FORMATS,
    Modality.VIDEO: VIDEO_FORMATS,
    Modality.TEXT: DOCUMENT_FORMATS,
}
_PACKAGES = {"heic": ("pi_heif",), "audio": ("soundfile", "soxr"), "video": ("av", "soxr"), "pdf": ("pypdfium2",)}
# A video's frames are images to the encoder, its sound track is sound.
_TAKEN_AS = {Modality.VIDEO: frozenset({Modality.IMAGE, Modality.AUDIO})}
_FILES = {Modality.IMAGE: "pictures", Modality.AUDIO: "sounds", Modality.VIDEO: "videos", Modality.TEXT: "documents"}


@dataclass(frozen=True, slots=True)
class Kind:
    """What the bytes are: a modality and the name of the format, such as ``JPEG`` or ``MP3``."""

    modality: Modality
    format: str


_IMAGE, _AUDIO, _VIDEO, _TEXT = Modality.IMAGE, Modality.AUDIO, Modality.VIDEO, Modality.TEXT

# The first pattern that matches at offset 0 names the kind; `(?s)` lets a dot stand for any byte.
_SIGNATURES = tuple(
    (re.compile(rb"(?s)" + pattern), Kind(modality, name))
    for pattern, modality, name in (
        (rb"\xff\xd8\xff", _IMAGE, "JPEG"),
        (rb"\x89PNG\r\n\x1a\n", _IMAGE, "PNG"),
        (rb"GIF8[79]a", _IMAGE, "GIF"),
        (rb"RIFF....WEBP", _IMAGE, "WEBP"),
        # "BM" alone begins many a text: the size of the second header tells.
        (rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00", _IMAGE, "BMP"),
        (rb"II\*\x00.{4}CR\x02", _IMAGE, "CR2"),
        (rb"II[*+]\x00|MM\x00[*+]", _IMAGE, "TIFF"),
        (rb"8BPS\x00[\x01\x02]", _IMAGE, "PSD"),
        (rb"\x00\x00\x01\x00[^\x00]\x00|\x00\x00\x02\x00[^\x00]\x00", _IMAGE, "ICO"),
        (rb"\xff\x4f\xff\x51|\x00\x00\x00\x0cjP  \r\n\x87\n", _IMAGE, "JPEG 2000"),
        (rb"\xff\x0a|\x00\x00\x00\x0cJXL \r\n\x87\n", _IMAGE, "JPEG XL"),
        (rb"qoif", _IMAGE, "QOI"),
        (rb"v/1\x01", _IMAGE, "OpenEXR"),
        (rb"#\?RADIANCE|#\?RGBE", _IMAGE, "HDR"),
        (rb"P[1-7][\s#]", _IMAGE, "PNM"),
        (rb"farbfeld", _IMAGE, "farbfeld"),
        (rb"DDS ", _IMAGE, "DDS"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", _IMAGE, "EPS"),
        (rb"(?:\xef\xbb\xbf)?\s*(?:<[?!].{0,1024}?)?<svg[\s>]", _IMAGE, "SVG"),
        (rb"....ftyp(?:avif|avis)", _IMAGE, "AVIF"),
        (rb"....ftyp(?:hei[cmxs]|hev[cmxs])", _IMAGE, "HEIC"),
        (rb"....ftyp(?:mif1|msf1)(?:....){1,16}?avi[fs]", _IMAGE, "AVIF"),
        (rb"....ftyp(?:mif1|msf1)", _IMAGE, "HEIC"),
        (rb"....ftypM4[ABP] ", _AUDIO, "M4A"),
        (rb"....ftypcrx ", _IMAGE, "CR3"),
        (rb"....ftyp|....(?:moov|mdat|wide)", _VIDEO, "MP4"),
        (rb"\x1aE\xdf\xa3", _VIDEO, "Matroska"),
        (rb"RIFF....AVI ", _VIDEO, "AVI"),
        (rb"FLV\x01", _VIDEO, "FLV"),
        (rb"\x00\x00\x01\xba|\x00\x00\x01\xb3", _VIDEO, "MPEG"),
        (rb"G.{187}G.{187}G", _VIDEO, "MPEG-TS"),
        (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11.*\xc0\xef\x19\xbc\x4d\x5b\xcf\x11", _VIDEO, "WMV"),
        (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _AUDIO, "WMA"),
        (rb"OggS.{22,290}?\x80theora", _VIDEO, "Ogg"),
        (rb"OggS", _AUDIO, "Ogg"),
        (rb"(?:RIFF|RF64)....WAVE", _AUDIO, "WAV"),
        (rb"fLaC", _AUDIO, "FLAC"),
        (rb"FORM....AIF[FC]", _AUDIO, "AIFF"),
        (rb"ID3[\x02-\x04]", _AUDIO, "MP3"),
        (rb"\xff[\xf0\xf1\xf8\xf9]", _AUDIO, "AAC"),
        (rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xfd][^\xf0-\xff]", _AUDIO, "MP3"),
        (rb"\.snd\x00\x00", _AUDIO, "AU"),
        (rb"caff\x00", _AUDIO, "CAF"),
        (rb"#!AMR", _AUDIO, "AMR"),
        (rb"MAC ", _AUDIO, "APE"),
        (rb"wvpk", _AUDIO, "WavPack"),
        (rb"MThd\x00\x00\x00\x06", _AUDIO, "MIDI"),
        (rb"(?s:.{0,1019})%PDF-", _TEXT, "PDF"),
    )
)

_NOT_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def sniff(head: bytes) -> Kind | None:
    """The kind of a file that begins with ``head`` (its first ``HEAD`` bytes, or all of it); None if unknown."""
    for signature, kind in _SIGNATURES:
        if signature.match(head[:HEAD]):
            return kind
    return Kind(_TEXT, "text") if _is_text(head[:HEAD]) else None


def _document(head: bytes, name: bytes) -> Kind | None:
    """The kind of a file that is a document by its name and a text by its content."""
    format_ = DOCUMENTS.get(os.path.splitext(name)[1].lower())
    if format_ is None or head[:1024].find(b"%PDF-") >= 0:
        return None
    return Kind(_TEXT, format_) if encoding_of(head, whole=len(head) < HEAD) else None


def format_named(name: bytes) -> str | None:
    """Which document a text of this name is; None: none."""
    return DOCUMENTS.get(os.path.splitext(name)[1].lower())


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    if not head or _NOT_TEXT.search(head):
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 and len(head) == HEAD  # a character cut in two by the head's end
    return True


def require_indexable(head: bytes, size: int, spec: EncoderSpec | None = None, name: bytes | None = None) -> Kind:
    """The kind of a file of ``size`` bytes, if mmsearch can decode it here, and ``spec``'s encoder (if given) takes it.

    ``name`` tells a document from other texts, nothing else; None: any text is one.
    Raises ``Rejected`` for an empty or zero-filled file, ``Unsupported`` (with the reason) for all other content.
    """
    if size == 0:
        raise Rejected("empty file")
    kind = (name and _document(head, name)) or sniff(head)
    if kind is None:
        # What a crash or a broken download leaves of a photo: its length, and zeros.
        if not head.strip(b"\0"):
            raise Rejected("holds only zero bytes")
        raise Unsupported("not a known kind of file")
    if kind.format == "text" and name is not None and os.path.splitext(name)[1].lower() not in DOCUMENTS:
        raise Unsupported("texts whose names are not those of documents are not indexed")
    if kind.format not in _INDEXED.get(kind.modality, frozenset()):
        raise Unsupported(f"{_FILES[kind.modality]} ({kind.format}) are not indexed")
    if spec is not None and not _TAKEN_AS.get(kind.modality, frozenset({kind.modality})) & spec.modalities:
        raise Unsupported(f"{spec.name} takes no {kind.modality} files")
    extra = missing_extra(kind)
    if extra is not None:
        raise Unsupported(str(MissingExtra(f"decoding {_FILES[kind.modality]} ({kind.format})", extra)))
    return kind


def missing_extra(kind: Kind) -> str | None:
    """The extra that brings the decoder of such files, if it is not installed."""
    if kind.modality is Modality.IMAGE:
        extra = "heic" if kind.format == "HEIC" else None
    elif kind.modality is Modality.TEXT:
        extra = "pdf" if kind.format == "PDF" else None
    else:
        extra = "audio" if kind.modality is Modality.AUDIO and kind.format in LIBSNDFILE_FORMATS else "video"
    return None if extra is None or all(map(_installed, _PACKAGES[extra])) else extra


def still_unsupported(reason: str, spec: EncoderSpec) -> bool:
    """Whether a file once skipped for this reason need not be looked at again.

    It need if the extra that it lacked is here now, if another model took no such files, or if this version knows more.
    """
    if extra := re.search(r"mmsearch\[(\w+)\]", reason):
        return not all(map(_installed, _PACKAGES.get(extra[1], ())))
    if " takes no " in reason:
        return reason.startswith(f"{spec.name} takes no ")
    return not re.match(r"(audio|video) files \(|texts \(", reason)  # what older versions said


@cache
def _installed(package: str) -> bool:
    return find_spec(package) is not None
