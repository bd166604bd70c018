"""Planted bugs, patched in from outside: each must turn a named check red, or the harness is blind."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, event, text

from mmsearch.retrieval import search
from mmsearch.store import artifacts, catalog, compare, layout, presence, rows
from mmsearch.store.catalog import Catalog
from mmsearch.store.reader import Artifact, Reader


@dataclass(frozen=True, slots=True)
class Fault:
    """``plant`` breaks the code of this process; at least one of ``checks`` must see it.

    ``kills`` are the labels at which it shows (empty: it shows without a kill), ``damage`` asks for damaged
    artifacts and ``models`` for changes of model.
    """

    plant: Callable[[], None]
    checks: frozenset[str]
    kills: tuple[str, ...] = ()
    damage: bool = False
    models: bool = False


FAULTS: dict[str, Fault] = {}


def fault(*checks: str, **how: Any) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(plant: Callable[[], None]) -> Callable[[], None]:
        FAULTS[plant.__name__] = Fault(plant, frozenset(checks), **how)
        return plant

    return register


# -- the catalog -----------------------------------------------------------------------------------------------------


@fault("lost", kills=("commit write_batch: before", "write_batch insert_items: after"))
def acknowledged_before_commit() -> None:
    """A batch is written when the next one comes."""
    write, waiting = Catalog.write_batch, list[Any]()

    def late(self: Catalog, *args: Any) -> None:
        waiting.append(args)
        if len(waiting) > 1:
            write(self, *waiting.pop(0))

    Catalog.write_batch = late  # type: ignore[method-assign]
    finish = Catalog.finish_run

    def flush(self: Catalog, *args: Any) -> None:
        while waiting:
            write(self, *waiting.pop(0))
        finish(self, *args)

    Catalog.finish_run = flush  # type: ignore[method-assign]


@fault("half", kills=("write_batch insert_embeddings: after", "commit write_batch: before"))
def split_transaction() -> None:
    """Items are committed before their vectors."""
    _rewrite_writer("INSERT INTO embedding", before=("COMMIT", "BEGIN IMMEDIATE"))


@fault("half", "lost", kills=("write_batch insert_items: after", "write_batch insert_segments: after"))
def half_batch_committed() -> None:
    """No transaction at all: every statement stands alone."""
    _replace_sql("BEGIN IMMEDIATE", "SELECT 1")


@fault("lost", kills=("write_batch delete_items: after", "write_batch insert_items: before"))
def old_row_deleted_first() -> None:
    """A changed file's old row is gone before its new one is there."""
    delete = rows.delete_items

    def early(connection: Connection, ids: Any) -> None:
        delete(connection, ids)
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    rows.delete_items = early


@fault("id-reuse")
def ids_reused() -> None:
    """The next id is one more than the largest that is left."""

    def next_id(connection: Connection, table: str) -> int:
        return int(connection.execute(text(f"SELECT coalesce(max(id), 0) + 1 FROM {table}")).scalar_one())

    rows.next_id = next_id


@fault("wrong")
def vectors_of_the_neighbour() -> None:
    """Vectors are written under the wrong segments."""
    insert = rows.insert_embeddings

    def swapped(connection: Connection, space: int, segments: Iterable[tuple[list[int], Any]]) -> None:
        pairs = list(segments)
        ids = [pair[0] for pair in pairs if pair[1].vectors is not None]
        ids = ids[1:] + ids[:1]
        insert(connection, space, [(ids.pop(0) if r.vectors is not None else own, r) for own, r in pairs])

    rows.insert_embeddings = swapped


@fault("wrong")
def vectors_of_another_file_reused() -> None:
    """A file takes over the vectors of any other one."""
    any_other = (
        "SELECT i.id FROM item i JOIN segment s ON s.item_id = i.id JOIN embedding e ON e.segment_id = s.id "
        "WHERE i.sha256 <> ? AND e.space_id = ? LIMIT 1"
    )

    def donor(self: Reader, sha256: bytes, space_id: int, *_: object) -> int | None:
        row = self._db.execute(any_other, (sha256, space_id)).fetchone()
        return None if row is None else int(row[0])

    Reader.donor = donor  # type: ignore[method-assign]


@fault("stale", "incomplete")
def changes_told_by_size_alone() -> None:
    """A file whose size is the same is taken for unchanged."""
    compare.COMPARE = catalog.COMPARE = compare.COMPARE.replace(compare._SAME, "(i.size = l.size)")


@fault("lost")
def unplugged_drive_swept() -> None:
    """A root that is not there is taken for empty."""
    presence.is_offline = lambda *args: False


@fault("lost", "query", models=True, kills=("commit write_batch: after", "commit start_run: after"))
def new_model_used_too_early() -> None:
    """Queries use a new space before it is complete."""
    space = Catalog.space

    def early(self: Catalog, spec: Any) -> Any:
        found = space(self, spec)
        self.activate(found.id)
        return found

    Catalog.space = early  # type: ignore[method-assign]


# -- birth -----------------------------------------------------------------------------------------------------------


@fault("opens", "exit", kills=("create fill: before", "os.mkdir: after", "migrate m001_first: before"))
def born_in_place() -> None:
    """A library is filled where it stands, not beside it."""

    def create(folder: str, fill: Callable[[str], None]) -> None:
        if os.path.isdir(folder) and os.listdir(folder):
            raise RuntimeError("not empty and not a library")
        os.makedirs(os.path.join(folder, layout.ARTIFACTS))
        fill(folder)

    layout.create = create


# -- artifacts -------------------------------------------------------------------------------------------------------


@fault("check", kills=("commit add_artifact: after", "os.replace: before", "os.write: torn"))
def row_before_file() -> None:
    """An artifact is known before its file is written."""
    write, add = artifacts._write, Catalog.add_artifact
    waiting: list[tuple[str, list[bytes]]] = []

    def later(path: str, chunks: Iterable[Any], *mode: int) -> tuple[int, str]:
        data = [bytes(chunk) for chunk in chunks]
        waiting.append((path, data))
        return sum(map(len, data)), hashlib.sha256(b"".join(data)).hexdigest()

    def row_first(self: Catalog, artifact: Artifact) -> None:
        add(self, artifact)
        write(*waiting.pop())

    artifacts._write = later
    artifacts.signature = lambda path: ""
    Catalog.add_artifact = row_first  # type: ignore[method-assign]


@fault("check", kills=("os.write: torn", "os.write: after"))
def written_in_place() -> None:
    """An artifact is rewritten under its own name: generations are not used."""

    def place(catalog: Catalog, kind: str) -> tuple[int, str]:
        number = max(1, catalog.next_generation() - 1)
        return number, os.path.join(catalog.folder, layout.ARTIFACTS, f"{number}.{kind}")

    artifacts._place = place
    replace = artifacts._write

    def in_place(path: str, chunks: Iterable[Any], *mode: int) -> tuple[int, str]:
        if os.path.exists(path):
            with open(path, "wb", buffering=0) as file:
                os.write(file.fileno(), b"")
        if os.path.exists(f"{path}.tmp"):
            os.unlink(f"{path}.tmp")
        return replace(path, chunks, *mode)

    artifacts._write = in_place
    add = Catalog.add_artifact

    def over(self: Catalog, artifact: Artifact) -> None:
        self.drop_artifacts([artifact.id])
        add(self, artifact)

    Catalog.add_artifact = over  # type: ignore[method-assign]


@fault("check", kills=("os.unlink: after",))
def file_dropped_before_row() -> None:
    """Old generations lose their file first."""
    drop = artifacts.drop_old

    def files_first(catalog: Catalog) -> None:
        for space in catalog.reader.spaces():
            for old in catalog.reader.artifacts(space.id)[artifacts.GENERATIONS :]:
                os.unlink(os.path.join(catalog.folder, layout.ARTIFACTS, old.file))
        drop(catalog)

    artifacts.drop_old = files_first


@fault("query", "unnoticed", damage=True)
def checksum_not_checked() -> None:
    """A damaged artifact is used."""
    artifacts.wrong_with = lambda *args, **options: None


@fault("query")
def max_seq_too_high() -> None:
    """An artifact claims rows that it does not hold."""
    add = Catalog.add_artifact
    Catalog.add_artifact = lambda self, a: add(  # type: ignore[method-assign]
        self, dataclasses.replace(a, max_seq=a.max_seq + 5)
    )


# -- queries ---------------------------------------------------------------------------------------------------------


@fault("query")
def fresh_rows_ignored() -> None:
    """What came after the artifact is not searched."""
    search.Searcher._fresh = lambda self, vectors, within: [search._NONE] * len(vectors)  # type: ignore[method-assign]


@fault("query")
def dead_ids_returned() -> None:
    """Missing files are returned."""
    _replace_reader_sql("WHERE i.gone IS NULL AND s.id IN", "WHERE s.id IN")


@fault("query")
def too_few_candidates() -> None:
    """The index is asked once; what turns out to be dead is not made up for."""
    original = search.Searcher._indexed

    def once(self: Any, vector: Any, count: int, within: Any) -> Any:
        return original(self, vector, min(count, 3), within)

    search.Searcher._indexed = once  # type: ignore[method-assign]


# -- how SQL is changed under way -------------------------------------------------------------------------------------


def _replace_sql(old: str, new: str) -> None:
    """Change what the writer says."""

    @event.listens_for(Engine, "before_cursor_execute", retval=True)
    def rewrite(connection: Any, cursor: Any, statement: str, values: Any, *_: Any) -> tuple[str, Any]:
        return statement.replace(old, new), values


def _rewrite_writer(start: str, before: tuple[str, ...]) -> None:
    """Run other statements before those of the writer that start so."""

    @event.listens_for(Engine, "before_cursor_execute")
    def rewrite(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(start):
            for other in before:
                cursor.execute(other)


def _replace_reader_sql(old: str, new: str) -> None:
    """Change what readers say."""
    begin = Reader.__init__

    class Changed:
        def __init__(self, db: Any) -> None:
            self._db = db

        def execute(self, sql: str, *values: Any) -> Any:
            return self._db.execute(sql.replace(old, new), *values)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._db, name)

    def changed(self: Reader, folder: str, **more: Any) -> None:
        begin(self, folder, **more)
        self._db = Changed(self._db)  # type: ignore[assignment]

    Reader.__init__ = changed  # type: ignore[method-assign]
