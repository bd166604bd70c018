"""Where files live: the roots of a library, and how they are claimed, moved, forgotten.

An item's path is relative to its root, so a drive that comes back under another name is one changed row.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, text, update

from mmsearch.errors import UsageError
from mmsearch.store import schema
from mmsearch.store.catalog import BELOW, Catalog, below
from mmsearch.store.presence import DEVICE, device, is_gone, is_offline
from mmsearch.store.reader import is_below


@dataclass(frozen=True, slots=True)
class Scope:
    """A part of a root: what one PATH argument of `index` names."""

    root_id: int
    root: bytes
    start: bytes
    """Relative to the root; empty: all of it."""

    @property
    def path(self) -> bytes:
        return os.path.join(self.root, self.start) if self.start else self.root


def claim(catalog: Catalog, path: bytes) -> Scope:
    """The scope of an absolute path: inside a root if one holds it, else a new root.

    Roots never overlap: a new root that holds older ones takes over their items.
    """
    with catalog.transaction() as connection:
        roots = _roots(connection)
        for root_id, root in roots:
            if is_below(path, root):
                return Scope(root_id, root, path[len(root) :].lstrip(b"/"))
        new = int(connection.execute(insert(schema.root), {"path": path, "offline": 0}).lastrowid)
        _note_device(connection, new, path)
        for root_id, root in roots:
            if is_below(root, path):
                _move_items(connection, root_id, new, b"", root[len(path) :].lstrip(b"/"))
                connection.execute(delete(schema.root).where(schema.root.c.id == root_id))
        connection.execute(text(_DROP_DEVICES))
    return Scope(new, path, b"")


def find(catalog: Catalog, path: bytes) -> Scope | None:
    """The scope of an absolute path, if a root holds it."""
    with catalog.transaction() as connection:
        for root_id, root in _roots(connection):
            if is_below(path, root):
                return Scope(root_id, root, path[len(root) :].lstrip(b"/"))
    return None


def note_device(catalog: Catalog, scope: Scope) -> None:
    """Note on which device a root is: it is there, and its files were compared."""
    if catalog.reader.setting(f"{DEVICE}{scope.root_id}") != device(scope.root):
        with catalog.transaction() as connection:
            _note_device(connection, scope.root_id, scope.root)


def _note_device(connection: Connection, root_id: int, root: bytes) -> None:
    row = {"key": f"{DEVICE}{root_id}", "value": device(root)}
    if row["value"]:
        connection.execute(insert(schema.setting).prefix_with("OR REPLACE"), row)


_DROP_DEVICES = (
    f"DELETE FROM setting WHERE key LIKE '{DEVICE}%' "
    f"AND CAST(substr(key, {len(DEVICE) + 1}) AS INTEGER) NOT IN (SELECT id FROM root)"
)


def set_offline(catalog: Catalog, root_id: int, offline: bool) -> None:
    """Note whether a root could be reached."""
    with catalog.transaction() as connection:
        connection.execute(update(schema.root).where(schema.root.c.id == root_id), {"offline": int(offline)})


def forget(catalog: Catalog, path: bytes) -> int:
    """Remove what is known at or below an absolute path (the files stay); says how many items that were."""
    with catalog.transaction() as connection:
        forgotten = 0
        for root_id, root in _roots(connection):
            if is_below(root, path):
                scope = Scope(root_id, root, b"")
            elif is_below(path, root):
                scope = Scope(root_id, root, path[len(root) :].lstrip(b"/"))
            else:
                continue
            forgotten += connection.execute(
                text(f"DELETE FROM item WHERE {BELOW}"), below(scope.root_id, scope.start)
            ).rowcount
        connection.execute(text("DELETE FROM root WHERE id NOT IN (SELECT root_id FROM item)"))
        connection.execute(text(_DROP_DEVICES))
    return forgotten


def prune(catalog: Catalog, dry_run: bool = False) -> list[bytes]:
    """Remove what is known of missing files; returns their absolute paths.

    The disk is looked at first: a file that is back, or on a drive that is not there, stays for the next run to see.
    """
    roots = catalog.reader.roots()
    there = {root_id: root for root_id, root in roots if not is_offline(catalog.reader, root_id, root)}
    missing = catalog.reader.query(
        "SELECT i.id, r.id, i.path FROM item i JOIN root r ON r.id = i.root_id "
        "WHERE i.gone IS NOT NULL ORDER BY r.path, i.path"
    )
    gone = [row for row in missing if row[1] in there and is_gone(there[row[1]], row[2])]
    if not dry_run:
        catalog.remove_items([item_id for item_id, _, _ in gone])
    return [os.path.join(there[root_id], path) for _, root_id, path in gone]


def relocate(catalog: Catalog, old: bytes, new: bytes) -> int:
    """Tell the catalog that what was at ``old`` is now at ``new`` (both absolute); says how many items moved.

    Raises ``UsageError`` if nothing is known below ``old``, or if ``new`` lies in another root.
    """
    with catalog.transaction() as connection:
        roots = _roots(connection)
        moved = [(root_id, root) for root_id, root in roots if is_below(root, old)]
        inside = [(root_id, root) for root_id, root in roots if is_below(old, root) and root != old]
        for root_id, root in roots:
            if (is_below(new, root) or is_below(root, new)) and (root_id, root) not in moved:
                raise UsageError(f"{os.fsdecode(new)} lies in a folder that is indexed already: {os.fsdecode(root)}")
        for root_id, root in moved:
            place = new + root[len(old) :]
            connection.execute(update(schema.root).where(schema.root.c.id == root_id), {"path": place, "offline": 0})
            _note_device(connection, root_id, place)
        count = sum(_count(connection, root_id) for root_id, _ in moved)
        for root_id, root in inside:
            target = int(connection.execute(insert(schema.root), {"path": new, "offline": 0}).lastrowid)
            _note_device(connection, target, new)
            count += _move_items(connection, root_id, target, old[len(root) :].lstrip(b"/"), b"")
        if not count:
            raise UsageError(f"nothing is indexed below {os.fsdecode(old)}: `mmsearch status` lists the folders")
    return count


def _roots(connection: Connection) -> list[tuple[int, bytes]]:
    rows = connection.execute(select(schema.root.c.id, schema.root.c.path).order_by(schema.root.c.id)).all()
    return [(int(row.id), bytes(row.path)) for row in rows]


def _count(connection: Connection, root_id: int) -> int:
    return int(
        connection.execute(text("SELECT count(*) FROM item WHERE root_id = :root"), {"root": root_id}).scalar_one()
    )


def _move_items(connection: Connection, source: int, target: int, cut: bytes, put: bytes) -> int:
    """Give items below ``cut`` of one root to another root, below ``put``."""
    values = {
        **below(source, cut),
        "target": target,
        "skip": len(cut) + 2 if cut else 1,  # SQL counts from 1, and the slash goes too
        "put": put + b"/" if put else b"",
    }
    moved = connection.execute(
        text(f"UPDATE item SET root_id = :target, path = CAST(:put || substr(path, :skip) AS BLOB) WHERE {BELOW}"),
        values,
    )
    return int(moved.rowcount)
