"""The catalog as its one writer sees it: SQLAlchemy Core, one transaction a batch.

A ``Catalog`` holds the writer lock from opening to ``close``. What a method has returned from is committed
(``synchronous=FULL``): it survives a kill and a power cut. Reading is `reader`'s work.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, delete, insert, select, text, update
from sqlalchemy.exc import DatabaseError

from mmsearch.errors import Damaged, Locked, NoLibrary, StorageFull
from mmsearch.store import first_use, layout, rows, rowsums, schema, staging, triggers
from mmsearch.store.compare import (
    ADD,
    BELOW,
    COMPARE,
    COUNT_GONE,
    HAS_VECTORS,
    LAST,
    LEARN,
    SEEN,
    UNLISTED,
    Known,
    below,
    known,
)
from mmsearch.store.engine import connect, errors_named
from mmsearch.store.lock import WriterLock
from mmsearch.store.migrations import foreign_code, migrate
from mmsearch.store.reader import HOLDS, TUNED, Artifact, Reader, Space
from mmsearch.store.rows import Record, Write
from mmsearch.store.words import TABLES, TOKENIZER
from mmsearch.types import EncoderSpec, FileStat, State

__all__ = ["BELOW", "Catalog", "Known", "Record", "Write", "below"]


class Catalog:
    """The one writer. Raises ``Locked`` after ``lock_timeout`` seconds, ``LibraryTooNew``, ``Damaged``.

    ``dry_run``: whatever is written, a newer format too, is undone at the end; what is committed stays what it was.
    ``mending``: triggers and views in the file, none of which are ours, are dropped, not refused.
    """

    def __init__(self, folder: str, lock_timeout: float = 0.0, *, dry_run: bool = False, mending: bool = False) -> None:
        self.folder = folder
        with errors_named(folder):
            if not layout.holds_library(folder):
                layout.create(folder, _fill_newborn)
                first_use.note(folder)
            layout.require_own_files(folder)
            self._lock = WriterLock(folder, lock_timeout)
        with ExitStack() as opened:  # in the order of closing, backwards: who fails half-way must hold nothing
            opened.callback(self._lock.close)
            if not mending and not first_use.is_known(folder):
                with suppress(NoLibrary):  # an empty one, or no catalog of ours
                    Reader(folder).close()
            engine = connect(folder)
            opened.callback(engine.dispose)
            with errors_named(folder):
                self._connection = engine.connect()
                opened.callback(self._connection.close)  # what is not committed is undone
                if dry_run:
                    self._connection.begin()
                self._prepare(dry_run, mending)
            self.reader = Reader(folder, mending=True)
            opened.callback(self.reader.close)
            self._opened = opened.pop_all()

    def _prepare(self, dry_run: bool, mending: bool) -> None:
        self.foreign = foreign = foreign_code(self._connection)
        if foreign and not mending:
            kind, name = foreign[0]
            raise Damaged(
                f"{self.folder} holds a {kind} that is not ours, {name}: run `mmsearch repair`, which drops it"
            )
        for kind, name in foreign:
            quoted = name.replace('"', '""')
            self._connection.exec_driver_sql(f'DROP {kind} "{quoted}"')
        migrate(self._connection)
        # Nothing in the file runs from here on but our own indexes. FTS5 counts as unsafe in a trigger, ours too.
        self._connection.exec_driver_sql("PRAGMA trusted_schema = ON")
        for statement in triggers.statements():
            self._connection.exec_driver_sql(statement)
        if not dry_run:
            self._connection.commit()

    def close(self) -> None:
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All or nothing; on leaving, durable. Raises ``StorageFull`` when the disk is, with nothing written."""
        connection = self._connection
        if not connection.in_transaction() and not self._lock.is_held():
            raise Locked(f"{self.folder}: the lock was removed, so another process may be writing: try again")
        with (
            errors_named(self.folder),
            connection.begin_nested() if connection.in_transaction() else connection.begin(),
        ):
            yield connection

    # -- settings, spaces, runs ---------------------------------------------------------------------------------

    def set(self, key: str, value: str) -> None:
        with self.transaction() as connection:
            connection.execute(insert(schema.setting).prefix_with("OR REPLACE"), {"key": key, "value": value})

    def space(self, spec: EncoderSpec) -> Space:
        """The space of an encoder, made if it is new. Queries use the first one from its birth on."""
        table = schema.space
        with self.transaction() as connection:
            known = connection.execute(select(table.c.id).where(table.c.fingerprint == spec.space)).scalar()
            row = {"fingerprint": spec.space, "model": spec.name, "dim": spec.dim, "created": rows.now()}
            if known is None:
                known = connection.execute(insert(table), row).lastrowid
            else:
                connection.execute(update(table).where(table.c.id == known), {"model": spec.name})
            # In this transaction: a kill must not leave a library whose spaces no query may use.
            first = {"key": _ACTIVE, "value": str(known)}
            connection.execute(insert(schema.setting).prefix_with("OR IGNORE"), first)
        return Space(known, spec.space, spec.name, spec.dim)

    def pending(self, space_id: int) -> int:
        """How many indexed, present files have no vectors in this space yet."""
        with self.transaction() as connection:
            return int(connection.execute(text(_PENDING), {"space": space_id}).scalar_one())

    def complete(self, space_id: int) -> bool:
        """Whether every segment has a vector in this space. Two counts: a fraction of what ``pending`` costs."""
        with self.transaction() as connection:
            segments = connection.execute(text("SELECT count(*) FROM segment")).scalar_one()
            vectors = connection.execute(
                text("SELECT count(*) FROM embedding WHERE space_id = :space"), {"space": space_id}
            ).scalar_one()
        return bool(segments == vectors)

    def activate(self, space_id: int) -> None:
        """Let queries use this space from now on."""
        self.set(_ACTIVE, str(space_id))

    def start_run(self, space_id: int, device: str) -> int:
        row = {"started": rows.now(), "space_id": space_id, "device": device, "counts": "{}"}
        with self.transaction() as connection:
            return int(connection.execute(insert(schema.run), row).lastrowid)

    def finish_run(self, run_id: int, counts: str) -> None:
        with self.transaction() as connection:
            connection.execute(
                update(schema.run).where(schema.run.c.id == run_id), {"finished": rows.now(), "counts": counts}
            )

    # -- what changed -------------------------------------------------------------------------------------------

    def start_listing(self) -> None:
        """Forget the files listed so far: a new root is about to be compared."""
        with self.transaction() as connection:
            connection.execute(text("DROP TABLE IF EXISTS temp.seen"))
            connection.execute(text(SEEN))

    def compare(
        self, root_id: int, files: Sequence[FileStat], space_id: int, complete: bool, learn: bool = False
    ) -> list[Known]:
        """Those of the listed files that are not simply unchanged and ``ok``.

        ``complete``: no file lacks vectors in this space, so that needn't be asked file by file. ``learn``: note when
        the unchanged ones changed last, as a library of an older format does not know it. The comparison is one join
        (about 2 microseconds a file); unchanged files never become Python objects.
        """
        values = {"root": root_id, "space": space_id, "complete": int(complete)}
        with self.transaction() as connection:
            first = connection.execute(text(LAST)).scalar_one()
            if files:
                connection.exec_driver_sql(ADD, list(files))
            found = connection.execute(text(COMPARE), {**values, "first": first}).all()
            if learn and files:
                rest = [(f.ctime_ns, root_id, f.path, f.size, f.mtime_ns, f.inode) for f in files]
                connection.exec_driver_sql(LEARN, rest)
        return [known(*row) for row in found]

    def unlisted(self, root_id: int, start: bytes) -> Iterator[tuple[int, bytes]]:
        """Items (id, relative path) at or below ``start`` that are present in the catalog but were not listed."""
        with self.transaction() as connection:
            found = connection.execute(text(UNLISTED), below(root_id, start)).all()
        yield from ((row[0], row[1]) for row in found)

    def count_gone(self, root_id: int, start: bytes) -> int:
        """How many items at or below ``start`` are missing."""
        with self.transaction() as connection:
            return int(connection.execute(text(COUNT_GONE), below(root_id, start)).scalar_one())

    # -- writing ------------------------------------------------------------------------------------------------

    def write_batch(self, root_id: int, space_id: int, records: Sequence[Record]) -> None:
        """Write how these files ended: rows, segments and vectors in one transaction."""
        replaced = [r.item_id for r in records if r.write is Write.REPLACE and r.item_id is not None]
        inserted = [r for r in records if r.write is Write.REPLACE]
        filled = [r for r in records if r.write is Write.FILL]
        touched = [r for r in records if r.write is not Write.REPLACE]
        with self.transaction() as connection:
            rows.delete_items(connection, replaced)
            items = rows.insert_items(connection, root_id, inserted)
            # The beginnings of long files come before their ends, so that their ids do.
            long = [pair for pair in zip(items, inserted, strict=True) if pair[1].staged]
            long += [(r.item_id, r) for r in filled if r.staged and r.item_id is not None]
            for item_id, record in long:
                staging.take(connection, root_id, space_id, item_id, record)
            staging.drop(connection, root_id, space_id, [record.file.path for _, record in long])
            segments = rows.insert_segments(connection, zip(items, inserted, strict=True))
            segments += [rows.segments_of(connection, r) for r in filled]
            rows.insert_embeddings(connection, space_id, zip(segments, inserted + filled, strict=True))
            rows.note_held(connection, space_id, inserted + filled)
            rows.touch(connection, touched)

    def drop_staged(self) -> None:
        """Forget the beginnings of files: a run came to its end, and has no use for them."""
        with self.transaction() as connection:
            if connection.execute(text("SELECT 1 FROM staged LIMIT 1")).scalar():
                connection.execute(text("DELETE FROM staged"))

    def set_captions(self, captions: Sequence[tuple[int, str | None]]) -> None:
        """Note what stands beside these items (id, caption); their vectors and ids stay."""
        if captions:
            with self.transaction() as connection:
                connection.exec_driver_sql(
                    "UPDATE item SET caption = ? WHERE id = ?", [(caption, item_id) for item_id, caption in captions]
                )

    def mark_gone(self, item_ids: Sequence[int]) -> None:
        """Note that these files are missing. Their vectors stay until `prune`; rows without any go at once."""
        table = schema.item
        with self.transaction() as connection:
            for chunk in rows.chunks(item_ids):
                indexed = table.c.state.in_((State.OK, State.PARTIAL))
                connection.execute(delete(table).where(table.c.id.in_(chunk), ~indexed))
                connection.execute(
                    update(table).where(table.c.id.in_(chunk), table.c.gone.is_(None)), {"gone": rows.now()}
                )

    # -- artifacts ----------------------------------------------------------------------------------------------

    def next_generation(self) -> int:
        """The id that the next artifact will have: its file is named after it before its row is there."""
        with self.transaction() as connection:
            return rows.next_id(connection, "artifact")

    def add_artifact(self, artifact: Artifact) -> None:
        row = {name: getattr(artifact, name) for name in Artifact.__slots__}
        with self.transaction() as connection:
            connection.execute(insert(schema.artifact), {**row, "created": rows.now()})

    def drop_artifacts(self, generations: Sequence[int]) -> None:
        if generations:
            with self.transaction() as connection:
                connection.execute(delete(schema.artifact).where(schema.artifact.c.id.in_(generations)))

    # -- upkeep -------------------------------------------------------------------------------------------------

    def rebuild_words(self) -> None:
        """Make the full-text tables again from the rows."""
        with self.transaction() as connection:
            for table, columns, rows_of in TABLES:
                connection.execute(text(f"DROP TABLE IF EXISTS {table}"))
                connection.execute(
                    text(f"CREATE VIRTUAL TABLE {table} USING fts5 ({columns}, tokenize = '{TOKENIZER}')")
                )
                connection.execute(text(f"INSERT INTO {table} (rowid, {columns}) {rows_of}"))

    def words_are_sound(self) -> bool:
        """Whether the full-text tables' own structure is whole; only a writer can ask FTS5 that."""
        with self.transaction() as connection:
            try:
                for table, *_ in TABLES:
                    connection.execute(text(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')"))
            except (DatabaseError, UnicodeDecodeError):
                return False
        return True

    def drop_vectors(self, space_id: int, segment_ids: Sequence[int]) -> None:
        """Forget these vectors; the next `index` finds their files without any and encodes them again.

        Indexes that may hold them go too: they would still return them.
        """
        table = schema.embedding
        with self.transaction() as connection:
            connection.execute(delete(schema.artifact).where(schema.artifact.c.space_id == space_id))
            for chunk in rows.chunks(segment_ids):
                connection.execute(delete(table).where(table.c.space_id == space_id, table.c.segment_id.in_(chunk)))

    def drop_space(self, space_id: int) -> None:
        """Forget a space with its vectors, its indexes and its runs; the files stay known."""
        with self.transaction() as connection:
            for table in (schema.embedding, schema.artifact, schema.run, schema.bank, schema.level, schema.staged):
                connection.execute(delete(table).where(table.c.space_id == space_id))
            about = [f"{HOLDS}{space_id}", f"{TUNED}{space_id}"]
            connection.execute(delete(schema.setting).where(schema.setting.c.key.in_(about)))
            connection.execute(delete(schema.space).where(schema.space.c.id == space_id))

    def reindex(self) -> None:
        """Build SQLite's own indexes again from the tables, and let no id be given twice."""
        with self.transaction() as connection:
            connection.execute(text("REINDEX"))
            for table in schema.metadata.sorted_tables:
                if table.name in rows.NUMBERED:
                    key = "seq" if table.name == "embedding" else "id"
                    connection.exec_driver_sql(f"DELETE FROM sqlite_sequence WHERE name = '{table.name}'")
                    connection.exec_driver_sql(
                        f"INSERT INTO sqlite_sequence (name, seq) SELECT '{table.name}', max({key}) + {rows.GAP} "
                        f"FROM {table.name} HAVING max({key}) IS NOT NULL"
                    )

    def remake_index(self, name: str, sql: str | None) -> None:
        """Drop one of SQLite's own indexes, and make it again by this statement."""
        quoted = name.replace('"', '""')
        with self.transaction() as connection:
            connection.exec_driver_sql(f'DROP INDEX IF EXISTS "{quoted}"')
            if sql is not None:
                connection.exec_driver_sql(sql)

    def write_row(self, table: str, values: Sequence[rowsums.Value]) -> None:
        """Set a row to these values, as `rowsums` lists them; the first is its key."""
        names, key = rowsums.COLUMNS[table], rowsums.key_of(table)
        marks, this = ", ".join(f'"{name}" = ?' for name in names), " AND ".join(f"{name} = ?" for name in key)
        with self.transaction() as connection:
            connection.exec_driver_sql(f"UPDATE {table} SET {marks} WHERE {this}", (*values, *values[: len(key)]))

    def give_up_rows(self, table: str, keys: Sequence[object]) -> None:
        """Drop rows that can't be mended, with all that hangs on them, so that the next `index` makes it again."""
        with self.transaction() as connection:
            if table == "segment":  # of which file, the damaged row may say wrongly: ids of one file's stand together
                around = [near for key in keys for near in (int(str(key)) - 1, int(str(key)), int(str(key)) + 1)]
                found = [
                    connection.exec_driver_sql("SELECT item_id FROM segment WHERE id = ?", (near,)).scalar()
                    for near in around
                ]
                rows.delete_items(connection, [item_id for item_id in found if isinstance(item_id, int)])
                connection.exec_driver_sql("DELETE FROM segment WHERE item_id NOT IN (SELECT id FROM item)")
                connection.execute(text(_DROP_EMPTY))
            elif table in ("migration", "root"):
                connection.exec_driver_sql(rowsums.fill(table))
            elif table == "folder":
                connection.exec_driver_sql("DELETE FROM folder")
                connection.exec_driver_sql(
                    "INSERT INTO folder (root_id, path, files) "
                    "SELECT root_id, folder_name(path) AS f, count(*) FROM item GROUP BY root_id, f"
                )
            elif table == "space":
                for key in keys:
                    self.drop_space(int(str(key)))
            else:
                name = rowsums.COLUMNS[table][0]
                for key in keys:
                    connection.exec_driver_sql(f"DELETE FROM {table} WHERE {name} = ?", (key,))
            connection.exec_driver_sql(_HOLDS)

    def compact(self) -> None:
        """Give free pages back to the disk. Needs as much free space as the catalog has, for a while."""
        raw = self._connection.connection.driver_connection  # neither works inside a transaction
        assert raw is not None
        try:
            raw.execute("VACUUM")
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.OperationalError as error:
            raise StorageFull(f"{self.folder}: {error}: free as much space as the catalog has") from error

    def remove_items(self, item_ids: Sequence[int]) -> None:
        """Forget these items, their segments and their vectors."""
        with self.transaction() as connection:
            rows.delete_items(connection, item_ids)


_ACTIVE = "active_space"
_HOLDS = f"""
INSERT OR REPLACE INTO setting (key, value)
SELECT '{HOLDS}' || e.space_id, group_concat(DISTINCT coalesce(s.modality, i.modality))
FROM embedding e JOIN segment s ON s.id = e.segment_id JOIN item i ON i.id = s.item_id GROUP BY e.space_id
"""
_DROP_EMPTY = """
DELETE FROM item WHERE state IN ('ok', 'partial') AND NOT EXISTS (SELECT 1 FROM segment s WHERE s.item_id = item.id)
"""
_PENDING = f"SELECT count(*) FROM item i WHERE i.state IN ('ok', 'partial') AND i.gone IS NULL AND NOT {HAS_VECTORS}"


def _fill_newborn(folder: str) -> None:
    engine = connect(folder)
    with engine.connect() as connection:
        migrate(connection)
    engine.dispose()
