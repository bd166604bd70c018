"""The catalog as a reader sees it: plain sqlite3, read-only, one snapshot at a time.

A cold query spends its time on imports (SQLAlchemy alone costs 0.3 s), so everything that it needs from the
catalog is here, in statements that mirror `schema`. Nothing here writes; a reader never takes a lock and never waits.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os.path import join
from typing import Any, TypeVar, cast

import numpy as np

from mmsearch.errors import Damaged, EncoderError, NoLibrary
from mmsearch.store.connection import connect_readonly
from mmsearch.store.filters import DATE, modified
from mmsearch.store.first_use import require_sound
from mmsearch.store.layout import refuse_newer, require_library
from mmsearch.store.words import all_of
from mmsearch.types import Detail, Embeddings, Failure, FloatArray, IdArray, MediaFacts, Modality, Span, State

T = TypeVar("T")

HOLDS = "holds:"
"""Before a space's id: the setting that lists the kinds of media it has vectors of."""

TUNED = "tuned:"
"""Before a space's id: the setting that says, as JSON, how its index is to be built."""

KEPT = 8
"""Answers that are remembered: the same filter comes with many questions, and can cost more than the search."""

SAMPLED_AT_ONCE = 64

BLOCK = 4096
"""Vectors read at a time: 4,096 rows of 512 dimensions are 8 MB of float32."""


@dataclass(frozen=True, slots=True)
class Space:
    """A row of ``space``: the vectors of one model."""

    id: int
    fingerprint: str
    model: str
    dim: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """A row of ``artifact``: a vector index over the rows of a space up to ``max_seq``."""

    id: int
    space_id: int
    kind: str
    bytes: int
    sha256: str
    stat: str
    rows: int
    max_seq: int
    params: str

    @property
    def file(self) -> str:
        """Its file's name inside ``artifacts/``."""
        return f"{self.id}.{self.kind}"


@dataclass(frozen=True, slots=True)
class Found:
    """A live segment and the file it lies in."""

    segment_id: int
    item_id: int
    path: bytes
    modality: Modality
    span: Span | None
    text: str | None
    page: int | None
    taken: str | None
    added: str
    date: str | None
    """``taken``, or when the file was last changed; local ISO 8601."""
    caption: str | None


@dataclass(frozen=True, slots=True)
class Item:
    """A file that the catalog knows, by its absolute path."""

    id: int
    path: bytes
    modality: str | None
    state: str
    size: int
    facts: MediaFacts


@dataclass(frozen=True, slots=True)
class Donation:
    """What an item gives to another file with the same content."""

    state: State
    reason: str | None
    modality: Modality
    facts: MediaFacts
    spans: tuple[Span | None, ...]
    vectors: FloatArray
    details: tuple[Detail, ...] = ()
    caption: str | None = None


class Reader:
    """A read-only connection to a library. Raises ``NoLibrary`` or ``LibraryTooNew``; any method, ``Damaged``.

    ``mending``: a catalog from elsewhere is opened as it is, for those who look what is wrong with it.
    """

    def __init__(self, folder: str, *, mending: bool = False) -> None:
        require_library(folder)
        self._db = connect_readonly(folder)
        refuse_newer(self._one("PRAGMA user_version"))
        if not self._one("SELECT count(*) FROM sqlite_master WHERE name = 'embedding'"):
            raise NoLibrary(f"{folder} holds an empty library: fill it with `mmsearch index FOLDER`")
        self.define("modified", modified)
        self._version, self._kept = 0, dict[tuple[object, ...], object]()
        self.format = self._one("PRAGMA user_version")
        if not mending:
            self._require_sound(folder)
        for statement in _SEEN_FROM_FORMAT_3.get(self.format, ()):
            self._db.execute(statement)

    def _require_sound(self, folder: str) -> None:
        try:
            require_sound(folder, self)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._db.close()

    def define(self, name: str, function: Callable[..., Any]) -> None:
        """Let statements call a deterministic function."""
        self._db.create_function(name, -1, function, deterministic=True)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read inside sees the same committed state, whatever a writer does meanwhile."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.rollback()

    def _one(self, sql: str, *values: object) -> int:
        return int(self._db.execute(sql, values).fetchone()[0] or 0)

    def setting(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM setting WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def spaces(self) -> list[Space]:
        return [Space(*row) for row in self._db.execute("SELECT id, fingerprint, model, dim FROM space ORDER BY id")]

    def active_space(self) -> Space | None:
        """The space that queries use; None while nothing was ever indexed to the end."""
        active = self.setting("active_space")
        return next((space for space in self.spaces() if str(space.id) == active), None)

    def artifacts(self, space_id: int) -> list[Artifact]:
        """The indexes of a space, newest first."""
        rows = self._db.execute(
            "SELECT id, space_id, kind, bytes, sha256, stat, rows, max_seq, params FROM artifact "
            "WHERE space_id = ? ORDER BY id DESC",
            (space_id,),
        )
        return [Artifact(*row) for row in rows]

    def count(self, space_id: int, after: int = 0) -> int:
        """How many vectors a space has with ``seq`` above ``after``."""
        return self._one("SELECT count(*) FROM embedding WHERE space_id = ? AND seq > ?", space_id, after)

    def max_seq(self, space_id: int) -> int:
        return self._one("SELECT max(seq) FROM embedding WHERE space_id = ?", space_id)

    def blocks(self, space_id: int, dim: int, after: int = 0, upto: int | None = None) -> Iterator[Embeddings]:
        """Stream the vectors with ``after < seq <= upto``, in the order they were committed."""
        cursor = self._db.execute(
            "SELECT segment_id, vector FROM embedding WHERE space_id = ? AND seq > ? AND seq <= ? ORDER BY seq",
            (space_id, after, 2**62 if upto is None else upto),
        )
        while rows := cursor.fetchmany(BLOCK):
            yield _embeddings(rows, dim)

    def raw_vectors(self, space_id: int) -> Iterator[list[tuple[int, bytes, int]]]:
        """Stream (segment id, stored bytes, crc32) of a space, unchecked, in blocks."""
        cursor = self._db.execute(
            "SELECT segment_id, vector, crc32 FROM embedding WHERE space_id = ? ORDER BY seq", (space_id,)
        )
        while rows := cursor.fetchmany(BLOCK):
            yield rows

    def raw_rows(self, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
        """Stream rows as they are stored: text that is no UTF-8, as damage leaves it, comes with lone surrogates."""
        before, self._db.text_factory = self._db.text_factory, lambda data: data.decode(errors="surrogateescape")
        try:
            cursor = self._db.execute(f"SELECT {columns} FROM {table}")
            while rows := cursor.fetchmany(BLOCK):
                yield from rows
        finally:
            self._db.text_factory = before

    def vectors(self, space_id: int, dim: int, segment_ids: Sequence[int]) -> Embeddings:
        """The stored vectors of these segments, those that exist, in no promised order."""
        rows: list[tuple[int, bytes]] = []
        for start in range(0, len(segment_ids), 1000):
            chunk = [int(i) for i in segment_ids[start : start + 1000]]
            rows += self._db.execute(
                f"SELECT segment_id, vector FROM embedding WHERE space_id = ? AND segment_id IN ({marks(chunk)})",
                (space_id, *chunk),
            )
        return _embeddings(rows, dim)

    def live(self, segment_ids: Sequence[int]) -> dict[int, Found]:
        """The segments among these whose files are still known and present, with their absolute paths."""
        return self.live_if(segment_ids, "1", ())

    def live_if(self, segment_ids: Sequence[int], where: str, values: Sequence[object]) -> dict[int, Found]:
        """Those of them that meet an SQL condition on ``item i`` and ``segment s`` too."""
        found: dict[int, Found] = {}
        for start in range(0, len(segment_ids), 1000):
            chunk = [int(i) for i in segment_ids[start : start + 1000]]
            for row in self._db.execute(
                "SELECT s.id, i.id, r.path, i.path, coalesce(s.modality, i.modality), s.start, s.end, s.unit, "
                "s.text, s.page, i.taken, i.added, "
                f"{DATE}, i.caption FROM segment s "
                "JOIN item i ON i.id = s.item_id JOIN root r ON r.id = i.root_id "
                f"WHERE i.gone IS NULL AND s.id IN ({marks(chunk)}) AND {where}",
                (*chunk, *values),
            ):
                segment_id, item_id, root, path, modality, start_at, end_at, unit, *more = row
                span = None if unit is None else Span(start_at, end_at, unit)
                found[segment_id] = Found(segment_id, item_id, join(root, path), Modality(modality), span, *more)
        return found

    def roots(self) -> list[tuple[int, bytes]]:
        """The indexed folders: (id, absolute path)."""
        return self._db.execute("SELECT id, path FROM root").fetchall()

    def donor(self, sha256: bytes, space_id: int, fits: Callable[[str, bytes], bool] = lambda *_: True) -> int | None:
        """An item with the same content that already has vectors in this space, and ``fits`` by modality and path.

        So many with the same content are looked at that every kind of name is most likely among them.
        """
        rows = self._db.execute(
            "SELECT i.id, i.modality, i.path FROM item i "
            "WHERE i.sha256 IS NOT NULL AND substr(i.sha256, 1, 8) = ? AND i.sha256 = ? AND EXISTS ("
            "SELECT 1 FROM segment s JOIN embedding e ON e.segment_id = s.id AND e.space_id = ? WHERE s.item_id = i.id"
            ") LIMIT 32",
            (sha256[:8], sha256, space_id),
        )
        return next((int(item_id) for item_id, modality, path in rows if fits(modality, path)), None)

    def donation(self, item_id: int, space: Space) -> Donation | None:
        """Everything about an item that another file with the same content can take over; None if it is damaged."""
        facts = ", ".join(MediaFacts.__slots__)
        row = self._db.execute(
            f"SELECT state, reason, modality, caption, {facts} FROM item WHERE id = ?", (item_id,)
        ).fetchone()
        rows = self._db.execute(
            "SELECT s.start, s.end, s.unit, e.vector, e.crc32, s.modality, s.text, s.page "
            "FROM segment s JOIN embedding e ON e.segment_id = s.id "
            "WHERE s.item_id = ? AND e.space_id = ? ORDER BY s.id",
            (item_id, space.id),
        ).fetchall()
        if any(zlib.crc32(row[3]) != row[4] for row in rows):
            return None
        return Donation(
            State(row[0]),
            row[1],
            Modality(row[2]),
            _facts(row[4:]),
            tuple(None if unit is None else Span(start, end, unit) for start, end, unit, *_ in rows),
            decode_vectors([row[3] for row in rows], space.dim),
            tuple(_detail(*row[5:]) for row in rows),
            row[3],
        )

    def items(
        self,
        below: bytes | None = None,
        named: str | None = None,
        state: str | None = None,
        condition: tuple[str, Sequence[object]] = ("1", ()),
        order: str = "r.path, i.path",
        count: int | None = None,
    ) -> list[Item]:
        """The items at or below an absolute path, with these words in their names, in this state; by path.

        No name has a word without a letter or a digit; no words at all are in every name. ``condition`` (SQL on ``item
        i``, and its values) and ``order`` come from `listing`.
        """
        words = all_of(named.split()) if named else ""
        if named and named.split() and not words:
            return []
        where, values = [condition[0]], [*condition[1]]
        if below is not None:
            where.append(f"({below_path(self, below, values)})")
        if words:
            columns = "name" if self.format < 3 else "{name folder}"
            where.append("i.id IN (SELECT rowid FROM item_text WHERE item_text MATCH ?)")
            values.append(f"{columns} : ({words})")
        if state is not None:
            where.append(f"{_STATE} = ?")
            values.append(state)
        facts = ", ".join(MediaFacts.__slots__)
        rows = self._db.execute(
            f"SELECT i.id, r.path, i.path, i.modality, {_STATE}, i.size, {facts} "
            f"FROM item i JOIN root r ON r.id = i.root_id WHERE {' AND '.join(where)} ORDER BY {order} LIMIT ?",
            [*values, -1 if count is None else count],
        )
        return [
            Item(item_id, join(root, path), modality, state, size, _facts(facts_of))
            for item_id, root, path, modality, state, size, *facts_of in rows
        ]

    def failures(self) -> list[Failure]:
        """The present files that are not, or not whole, in the index; by path."""
        rows = self._db.execute(
            "SELECT r.path, i.path, i.state, i.reason FROM item i JOIN root r ON r.id = i.root_id "
            "WHERE i.state <> 'ok' AND i.state IN ('partial', 'rejected', 'transient') AND i.gone IS NULL ORDER BY 1, 2"
        )
        return [Failure(join(root, path), State(state), reason or "") for root, path, state, reason in rows]

    def ids(self, sql: str, values: Sequence[object]) -> IdArray:
        """The ids that a statement selects, int64 ``(n,)``, ascending; not to be changed."""

        def read() -> IdArray:
            # One string for all ids: a Python object for each row costs four times as much.
            ((ids,),) = self.query(f"SELECT group_concat(id, ' ') FROM ({sql})", values)
            return np.sort(np.fromstring(ids, np.int64, sep=" ")) if ids else np.empty(0, np.int64)

        return self.remembered((sql, *values), read)

    def remembered(self, key: tuple[object, ...], read: Callable[[], T]) -> T:
        """What ``read`` gives, kept for the next time, but only until somebody commits."""
        version = self._one("PRAGMA data_version")
        if version != self._version:
            self._version, self._kept = version, {}
        if key not in self._kept:
            if len(self._kept) == KEPT:
                self._kept.clear()
            self._kept[key] = read()
        return cast(T, self._kept[key])

    def stream(self, sql: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of a statement one block after the other: who has enough stops."""
        cursor = self._db.execute(sql, values)
        while rows := cursor.fetchmany(SAMPLED_AT_ONCE):
            yield from rows

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of a statement, for the reports of `status`, `ls` and `errors`."""
        return self._db.execute(sql, values).fetchall()


def _detail(modality: str | None, text: str | None, page: int | None) -> Detail:
    return Detail(None if modality is None else Modality(modality), text, page)


def _facts(values: Sequence[Any]) -> MediaFacts:
    return MediaFacts(**dict(zip(MediaFacts.__slots__, values, strict=True)))


# A reader cannot migrate, and a library on a write-protected disk need not be: these names hide the older tables.
# What is newer than them is empty: such a library is not asked by the letter.
_EMPTY = (
    "CREATE TEMP TABLE folder (id INTEGER PRIMARY KEY, root_id INTEGER, path BLOB, files INTEGER)",
    "CREATE TEMP TABLE bank (space_id INTEGER PRIMARY KEY, data BLOB)",
    "CREATE TEMP TABLE level (space_id INTEGER, modality TEXT, mean BLOB, spread REAL, rows INTEGER)",
)
_OF_ITEM = "(SELECT i.modality FROM main.item i WHERE i.id = item_id)"
_SEEN_FROM_FORMAT_3 = {
    1: (
        "CREATE TEMP VIEW item AS SELECT *, NULL AS caption FROM main.item",
        f"CREATE TEMP VIEW segment AS SELECT *, {_OF_ITEM} AS modality, NULL AS text, NULL AS page FROM main.segment",
        "CREATE VIRTUAL TABLE temp.segment_text USING fts5 (text)",
        *_EMPTY,
    ),
    2: (
        'CREATE TEMP VIEW segment AS SELECT id, item_id, start, "end", unit, '
        f"coalesce(modality, {_OF_ITEM}) AS modality, text, page FROM main.segment",
        *_EMPTY,
    ),
}

_STATE = "CASE WHEN i.gone IS NULL THEN i.state ELSE 'missing' END"


def is_below(path: bytes, folder: bytes) -> bool:
    """Whether ``path`` is ``folder`` or lies in it: ``/a/b`` is below ``/a`` and ``/a/b``, ``/ab`` is not."""
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def below_path(reader: Reader, path: bytes, values: list[object]) -> str:
    """An SQL condition on ``item i`` for "at or below an absolute path"; its values go to the end of ``values``."""
    conditions = ["0"]
    for root_id, root in reader.roots():
        if is_below(root, path):
            conditions.append("i.root_id = ?")
            values.append(root_id)
        elif is_below(path, root):
            relative = path[len(root) :].lstrip(b"/")
            conditions.append("i.root_id = ? AND (i.path = ? OR i.path >= ? AND i.path < ?)")
            values += [root_id, relative, relative + b"/", relative + b"0"]  # "0" follows "/"
    return " OR ".join(conditions)


def marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def decode_vectors(blobs: Sequence[bytes], dim: int) -> FloatArray:
    """Stored float16 blobs to float32 ``(n, dim)``. Raises ``Damaged`` for a blob of another length."""
    joined = b"".join(blobs)
    if len(joined) != 2 * dim * len(blobs):
        raise Damaged("a stored vector has the wrong length: run `mmsearch repair`")
    return np.frombuffer(joined, "<f2").reshape(-1, dim).astype(np.float32)


def encode_vectors(vectors: FloatArray) -> list[tuple[bytes, int]]:
    """Rows as stored: (float16 little-endian bytes, their crc32)."""
    stored = vectors.astype("<f2")
    data, size = stored.tobytes(), stored.shape[1] * 2
    blobs = [data[start : start + size] for start in range(0, len(data), size)]
    return [(blob, zlib.crc32(blob)) for blob in blobs]


def _embeddings(rows: Sequence[tuple[int, bytes]], dim: int) -> Embeddings:
    ids = np.array([row[0] for row in rows], np.int64)
    try:
        return Embeddings(ids, decode_vectors([row[1] for row in rows], dim))
    except EncoderError as error:
        raise Damaged(f"the catalog holds a damaged vector ({error}): run `mmsearch repair`") from error
