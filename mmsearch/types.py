"""The value types and protocols that every part of mmsearch shares.

Only numpy and the standard library are imported here. Conventions, stated once:

* A vector is a float32 row of unit length; a score is a cosine similarity, higher is better.
* An id is a signed 64-bit integer minted by the catalog and never reused; it is never a position.
* Path names are bytes, as the file system gives them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from mmsearch.errors import EncoderError, SpaceMismatch

FloatArray: TypeAlias = npt.NDArray[np.float32]
IdArray: TypeAlias = npt.NDArray[np.int64]
Pixels: TypeAlias = npt.NDArray[np.uint8]

NORM_TOLERANCE = 1e-3
"""How far a stored vector's length may be from 1; float16 rounding costs up to 5e-4."""


class Modality(StrEnum):
    """What a segment is made of."""

    IMAGE = "image"
    TEXT = "text"
    AUDIO = "audio"
    VIDEO = "video"


Mode: TypeAlias = Literal["hybrid", "dense", "lexical"]
"""How a question is answered; `Query.mode` says what each means."""

Media: TypeAlias = Pixels | str | FloatArray
"""One decoded input: RGB pixels uint8 ``(h, w, 3)``, a string, or mono samples float32 ``(n,)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """The picture that an encoder wants: how any photo becomes uint8 ``(size, size, 3)``.

    ``fit`` follows open_clip's resize modes: ``crop`` scales the shorter side to ``size`` and cuts the
    centre, ``squash`` ignores the aspect ratio, ``pad`` scales the longer side and fills the rest with ``fill``.
    """

    size: int
    fit: Literal["crop", "squash", "pad"] = "crop"
    resample: Literal["bilinear", "bicubic"] = "bicubic"
    fill: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """What an encoder is. Two encoders with the same ``space`` give comparable vectors.

    ``space`` is a fingerprint over the weights' sha256, the preprocessing, the tokenizer, the dimension and
    the normalisation; it changes whenever any of them does.
    """

    name: str
    space: str
    dim: int
    modalities: frozenset[Modality]
    licence: str
    image: ImageInput | None = None
    audio_rate: int | None = None
    """Sample rate in hertz of the mono audio that the encoder takes."""
    audio_window: float = 10.0
    """Seconds of sound in one segment: about what the encoder was trained on."""
    text_tokens: int | None = None
    """Tokens of a text that the encoder reads, its own marks included; what is longer it cuts off."""


@runtime_checkable
class Encoder(Protocol):
    """Decoded inputs in, unit vectors out.

    ``encode`` returns float32 ``(len(batch), dim)``: one unit row for each input, in order, never fewer. The
    row of one input does not depend on its neighbours beyond 1e-5. Inputs may differ in length, except
    pictures, which come as ``spec.image`` asks. It raises ``EncoderError`` for a modality it lacks.

    An encoder of text may have ``count_tokens(text) -> int``, its own marks included: documents are cut by it;
    and ``bank() -> encoders.bank.Bank``, the yardstick it comes with, which else is made once and kept.
    """

    @property
    def spec(self) -> EncoderSpec: ...

    def encode(self, batch: Sequence[Media], modality: Modality) -> FloatArray: ...


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Ids int64 ``(n,)`` with their unit vectors float32 ``(n, d)``, checked once, here.

    Raises ``EncoderError`` for a shape that does not fit, a value that is not finite, or a row whose length is
    not 1 (a zero row among them: it would score 0 against everything and so "match").
    """

    ids: IdArray
    vectors: FloatArray

    def __post_init__(self) -> None:
        check_unit_rows(self.vectors)
        if self.ids.dtype != np.int64 or self.ids.shape != self.vectors.shape[:1]:
            raise EncoderError(f"ids {self.ids.dtype} {self.ids.shape} do not fit vectors {self.vectors.shape}")

    def __len__(self) -> int:
        return len(self.ids)


def check_unit_rows(vectors: FloatArray) -> None:
    """Raise ``EncoderError`` unless ``vectors`` is float32 ``(n, d)``, finite, and every row has length 1."""
    if vectors.dtype != np.float32 or vectors.ndim != 2:
        raise EncoderError(f"vectors must be float32 (n, d), not {vectors.dtype} {vectors.shape}")
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    # A NaN or infinite length compares false, so this one test covers every kind of bad row.
    bad = np.flatnonzero(~(np.abs(lengths - 1) <= NORM_TOLERANCE))
    if bad.size:
        row = int(bad[0])
        raise EncoderError(f"{bad.size} of {len(vectors)} vectors are not finite unit rows (row {row}: {lengths[row]})")


@dataclass(frozen=True, slots=True, eq=False)
class Neighbors:
    """The best ids for each query: ids int64 ``(q, k)``, scores float32 ``(q, k)``, counts int64 ``(q,)``.

    Only the first ``counts[i]`` entries of row ``i`` mean anything: ``row`` hands out no others.
    """

    ids: IdArray
    scores: FloatArray
    counts: IdArray

    def row(self, i: int) -> tuple[IdArray, FloatArray]:
        """The ids and scores of query ``i``, best first, without padding."""
        count = int(self.counts[i])
        return self.ids[i, :count], self.scores[i, :count]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSpec:
    """What a vector index is and can do; optional powers are declared here, not found out by an exception."""

    kind: str
    dim: int
    exact: bool
    """False: scores are approximate, and the caller refines candidates from the stored vectors."""
    refine: int = 1
    """How many times ``k`` candidates an approximate index should be asked for before refining."""
    can_add: bool = True
    can_remove: bool = False


@runtime_checkable
class VectorIndex(Protocol):
    """Vectors in, nearest ids out. Scores are cosine similarity; rows come best first, ties by smaller id."""

    @property
    def spec(self) -> IndexSpec: ...

    def __len__(self) -> int: ...

    def search(self, queries: FloatArray, k: int, within: IdArray | None = None) -> Neighbors:
        """The ``k`` nearest of float32 ``(q, d)`` queries, among the ids ``within`` (sorted) if given.

        ``k`` may exceed the number of vectors: ``Neighbors.counts`` says how many there are.
        """
        ...

    def add(self, embeddings: Embeddings) -> None: ...

    def remove(self, ids: IdArray) -> int:
        """Forget these ids; says how many were there."""
        ...

    def to_bytes(self) -> bytes: ...

    @classmethod
    def from_bytes(cls, data: bytes) -> Self: ...


@dataclass(frozen=True, slots=True)
class Span:
    """Where in an item a segment lies: seconds (``unit="s"``) or characters (``unit="char"``)."""

    start: float
    end: float
    unit: Literal["s", "char"]


class Detail(NamedTuple):
    """More of a segment: its kind where that is not its item's, a chunk's text, a document's page counted from 1."""

    modality: Modality | None = None
    text: str | None = None
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a question: a signed weight and words, pixels or samples."""

    content: Media
    modality: Modality
    weight: float = 1.0


class Asked(NamedTuple):
    """One piece of a question before it is read: words, a file's path, or an address; its weight may be negative."""

    kind: Literal["text", "file", "url"]
    value: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question: weighted parts, how many answers, where to look, and what to do with what is found.

    Without parts it lists the files that pass its filters, newest first.
    """

    parts: tuple[Asked, ...] = ()
    k: int = 10
    mode: Mode = "hybrid"
    """By meaning alone (cosines), by the letter alone (names, captions, text, camera), or both on one scale."""
    within: bytes | None = None
    """Only items at or below this absolute path."""
    modalities: frozenset[Modality] | None = None
    where: str | None = None
    """A condition in the language of `mmsearch.retrieval.where`."""
    since: str | None = None
    until: str | None = None
    near: tuple[float, float, float] | None = None
    """Degrees north, degrees east, kilometres."""
    min_confidence: float = 0.0
    unique: bool = False
    """Of near-duplicates only the best."""
    sort: str = "score"
    """``score``, ``date`` (taken, or changed), ``taken``, ``added`` (newest first), ``path``; or ``date:asc``, ..."""
    group: Literal["day", "folder", "modality"] | None = None
    moments: int = 1
    """So many spans of each hit's file at most, the best ones that don't overlap."""


class Moment(NamedTuple):
    """A span of a hit's file, what it would be ranked by in its space, and its cosine (None without a vector)."""

    span: Span
    score: float
    cosine: float | None
    segment_id: int
    page: int | None = None
    text: str | None = None


class Why(NamedTuple):
    """What put a hit where it is. The points of its parts add up to the score of a hybrid search of one space."""

    z: float
    """How far its vector stands out of its kind for this question, in spreads."""
    words: float
    """Points of the question's words in its name, caption or text."""
    folder: float
    """Points of the question's words in its folder's path."""
    matched: tuple[tuple[str, str], ...]
    """Each word of the question that it has, and where: name, caption, text, folder or facts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One answer. ``rank`` counts from 1; ``score`` is what the order is by: it never rises from one rank to the next.

    In a hybrid search it is what ``why`` adds up to, or where several spaces were asked the sum of reciprocal ranks;
    in a dense one the cosine; in a lexical one the share of the question's words, 0 to 1, with ``space`` ``words``.
    ``cosine`` is the similarity of the item's best segment in ``space``; None without a vector. ``confidence`` (0 to 1)
    is how likely the hit shows what was asked; None: nothing to tell it by. In a listing, for which nothing was asked,
    ``score`` is 0, ``confidence`` None and ``space`` empty.
    """

    rank: int
    score: float
    cosine: float | None = None
    path: bytes
    modality: Modality
    span: Span | None
    item_id: int
    segment_id: int
    space: str
    confidence: float | None = None
    found_by: tuple[str, ...] = ()
    """The spaces (fingerprints, or ``words``) that found it."""
    text: str | None = None
    page: int | None = None
    taken: str | None = None
    added: str | None = None
    date: str | None = None
    """``taken``, or where the file does not say, when it was last changed; local ISO 8601."""
    group: str | None = None
    why: Why | None = None
    moments: tuple[Moment, ...] = ()
    """Its best spans, its own first, then best first; up to `Query.moments`. None of a whole file, such as a photo."""


class State(StrEnum):
    """How a file ended. Every file seen ends in exactly one of these."""

    OK = "ok"
    PARTIAL = "partial"  # indexed, but part of the file is damaged
    REJECTED = "rejected"  # can't be indexed until the file changes
    TRANSIENT = "transient"  # failed for a passing reason (disk full, unreadable): tried again next time
    MISSING = "missing"  # was indexed, is gone; its vectors stay until `prune`
    SKIPPED = "skipped"  # nothing that mmsearch indexes


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFacts:
    """What a file says about itself. ``taken`` is local time as ISO 8601, ``lat``/``lon`` are degrees."""

    width: int | None = None
    height: int | None = None
    taken: str | None = None
    camera: str | None = None
    lat: float | None = None
    lon: float | None = None
    duration_s: float | None = None


class FileStat(NamedTuple):
    """A regular file as it was listed: its name (bytes, relative to its root) and what tells a change."""

    path: bytes
    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int | None = None
    """None: not known."""

    @classmethod
    def of(cls, path: bytes, status: os.stat_result) -> FileStat:
        """What the system says of a file; every number that a kernel may give fits 64 bits, see `signed`."""
        size, mtime, inode = signed(status.st_size), signed(status.st_mtime_ns), signed(status.st_ino)
        return cls(path, size, mtime, inode, signed(status.st_ctime_ns))


def signed(number: int) -> int:
    """A number as a signed one of 64 bits, which SQLite takes: what does not fit comes round from the other end.

    A time beyond the year 2262 or an inode above 2^63 need not be right, only the same again and another if changed.
    """
    return (number + 2**63) % 2**64 - 2**63


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that did not end ``ok``, and why."""

    path: bytes
    state: State
    reason: str


def require_same_space(expected: str, actual: str) -> None:
    """Raise ``SpaceMismatch`` unless both fingerprints are the same."""
    if expected != actual:
        raise SpaceMismatch(expected, actual)
