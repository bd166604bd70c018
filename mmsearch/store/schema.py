"""The tables, as SQLAlchemy Core sees them. `migrations` creates them; a test holds the two equal.

Ids are AUTOINCREMENT and never reused: an artifact that is behind can name rows that are gone, never the
wrong row. Paths are bytes. `embedding.seq` grows with every committed row, so "what came after the artifact" is
a range of the primary key.

Beside them stand full-text tables, ``item_text`` (name, folder, caption, facts), ``segment_text`` (text) and
``folder_text`` (path), which triggers keep equal with the rows in the same transaction; `words` says what they hold.
``crc32`` is that of the row (`rowsums`), in `embedding` that of the vector.
"""

from __future__ import annotations

from sqlalchemy import BLOB, Column, Float, ForeignKey, Integer, MetaData, Table, Text

metadata = MetaData()


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True)


def _crc() -> Column[int]:
    return Column("crc32", Integer)


migration = Table("migration", metadata, Column("number", Integer, primary_key=True), Column("name", Text), _crc())

setting = Table("setting", metadata, Column("key", Text, primary_key=True), Column("value", Text), _crc())

root = Table(
    "root",
    metadata,
    _id(),
    Column("path", BLOB),  # absolute
    Column("offline", Integer),  # 1: not reachable at the last run; its items stay as they are
    _crc(),
)

item = Table(
    "item",
    metadata,
    _id(),
    Column("root_id", Integer, ForeignKey("root.id")),
    Column("path", BLOB),  # relative to the root
    Column("size", Integer),
    Column("mtime_ns", Integer),
    Column("inode", Integer),
    Column("sha256", BLOB),  # of the content; null where the file was never read whole
    Column("modality", Text),
    Column("state", Text),  # types.State, without `missing`
    Column("reason", Text),
    Column("gone", Text),  # when the file was found missing; null while it is there
    Column("added", Text),
    Column("width", Integer),
    Column("height", Integer),
    Column("taken", Text),
    Column("camera", Text),
    Column("lat", Float),
    Column("lon", Float),
    Column("duration_s", Float),
    Column("caption", Text),  # words that stand beside the media
    Column("ctime_ns", Integer),  # when its content, name or mode changed last; null: not known
    _crc(),
)

folder = Table(
    "folder",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("root_id", Integer, ForeignKey("root.id")),
    Column("path", BLOB),  # relative to the root
    Column("files", Integer),  # items right in it; kept by triggers
    _crc(),
)

segment = Table(
    "segment",
    metadata,
    _id(),
    Column("item_id", Integer, ForeignKey("item.id")),
    Column("start", Float),  # span in seconds or characters; null: the whole item
    Column("end", Float),
    Column("unit", Text),
    Column("modality", Text),  # a video's sound track has segments of its own kind
    Column("text", Text),  # of a chunk
    Column("page", Integer),  # of a document, from 1
    _crc(),
)

space = Table(
    "space",
    metadata,
    _id(),
    Column("fingerprint", Text),
    Column("model", Text),
    Column("dim", Integer),
    Column("created", Text),
    _crc(),
)

embedding = Table(
    "embedding",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("space_id", Integer, ForeignKey("space.id")),
    Column("segment_id", Integer, ForeignKey("segment.id")),
    Column("vector", BLOB),  # float16, little-endian, unit length
    Column("crc32", Integer),
)

bank = Table(
    "bank",
    metadata,
    Column("space_id", Integer, ForeignKey("space.id"), primary_key=True),
    Column("data", BLOB),  # encoders.bank.Bank
    _crc(),
)

level = Table(
    "level",
    metadata,
    Column("space_id", Integer, ForeignKey("space.id"), primary_key=True),
    Column("modality", Text, primary_key=True),  # image (frames of films among them), audio, text
    Column("mean", BLOB),  # float32, of the kind's vectors
    Column("spread", Float),  # of a question without meaning against one of them
    Column("rows", Integer),  # how many were sampled
    _crc(),
)

staged = Table(  # segments of files whose end is not encoded yet, as those of `segment` and `embedding`; see `staging`
    "staged",
    metadata,
    Column("root_id", Integer, primary_key=True),
    Column("path", BLOB, primary_key=True),
    Column("space_id", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("sha256", BLOB),
    Column("start", Float),
    Column("end", Float),
    Column("unit", Text),
    Column("modality", Text),
    Column("text", Text),
    Column("page", Integer),
    Column("vector", BLOB),
    Column("crc32", Integer),
)

artifact = Table(
    "artifact",
    metadata,
    _id(),  # the generation; the file is named after it
    Column("space_id", Integer, ForeignKey("space.id")),
    Column("kind", Text),
    Column("bytes", Integer),
    Column("sha256", Text),
    Column("stat", Text),  # of the file when its sha256 was last known to be right
    Column("rows", Integer),
    Column("max_seq", Integer),
    Column("params", Text),  # JSON
    Column("created", Text),
    _crc(),
)

run = Table(
    "run",
    metadata,
    _id(),
    Column("started", Text),
    Column("finished", Text),  # null: it was killed
    Column("space_id", Integer, ForeignKey("space.id")),
    Column("device", Text),
    Column("counts", Text),  # JSON
    _crc(),
)
