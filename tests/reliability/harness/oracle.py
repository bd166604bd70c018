"""What must hold, found out without the code under test: bare SQL, brute force, and the model of the tree."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mmsearch import Library
from mmsearch.encoders import registry
from mmsearch.types import Encoder, Modality

from .world import World

Violation = tuple[str, str]
"""The name of a check and what it saw."""

TOLERANCE = 1e-5
"""Two ways to sum the same float32 products differ by less."""


@dataclass(slots=True)
class Row:
    """A file as the catalog has it; ``vectors`` maps a space's id to (segment id, stored bytes)."""

    item_id: int
    path: bytes
    sha256: str
    state: str
    gone: bool
    stat: tuple[int, int, int]
    vectors: dict[int, list[tuple[int, bytes]]] = field(default_factory=dict)
    segments: int = 0


@dataclass(slots=True)
class Snapshot:
    rows: list[Row] = field(default_factory=list)
    dims: dict[int, int] = field(default_factory=dict)
    active: int | None = None
    names: dict[int, str] = field(default_factory=dict)
    """What the full-text table holds as the name of each item."""

    def by_path(self) -> dict[bytes, Row]:
        return {row.path: row for row in self.rows}


def snapshot(library: str) -> Snapshot:
    """Everything in the catalog; empty where there is no library yet."""
    catalog = os.path.join(library, "catalog.sqlite")
    if not os.path.exists(catalog):
        return Snapshot()
    db = sqlite3.connect(f"file:{catalog}?mode=ro", uri=True)
    try:
        found = Snapshot(dims=dict(db.execute("SELECT id, dim FROM space")))
        active = db.execute("SELECT value FROM setting WHERE key = 'active_space'").fetchone()
        found.active = None if active is None else int(active[0])
        items: dict[int, Row] = {}
        for item_id, root, path, sha256, state, gone, *stat in db.execute(_ITEMS):
            items[item_id] = Row(
                item_id, os.path.join(root, path), (sha256 or b"").hex(), state, bool(gone), tuple(stat)
            )
        for item_id, count in db.execute("SELECT item_id, count(*) FROM segment GROUP BY item_id"):
            items[item_id].segments = count
        for item_id, space, segment, vector in db.execute(_VECTORS):
            items[item_id].vectors.setdefault(space, []).append((segment, vector))
        found.rows = list(items.values())
        # Format 1 took names in at the end of a run.
        if db.execute("PRAGMA user_version").fetchone()[0] >= 2:
            found.names = dict(db.execute("SELECT rowid, name FROM item_text"))
        return found
    finally:
        db.close()


_ITEMS = """
SELECT i.id, r.path, i.path, i.sha256, i.state, i.gone IS NOT NULL, i.size, i.mtime_ns, i.inode
FROM item i JOIN root r ON r.id = i.root_id ORDER BY i.id
"""
_VECTORS = """
SELECT s.item_id, e.space_id, e.segment_id, e.vector FROM embedding e JOIN segment s ON s.id = e.segment_id
ORDER BY e.seq
"""


def artifacts(library: str) -> dict[str, str]:
    """The names of the files that the catalog counts on, with the sha256 that they should have."""
    catalog = os.path.join(library, "catalog.sqlite")
    if not os.path.exists(catalog):
        return {}
    db = sqlite3.connect(f"file:{catalog}?mode=ro", uri=True)
    try:
        rows = db.execute("SELECT id, kind, sha256 FROM artifact")
        return {f"{number}.{kind}": sha256 for number, kind, sha256 in rows}
    finally:
        db.close()


def broken_artifacts(library: str) -> set[str]:
    """Those that are not what the catalog says.

    Damage may undo itself: two files with the same bytes swapped, or the same two swapped twice.
    """
    named = artifacts(library)
    return {name for name, sha256 in named.items() if _sha256(os.path.join(library, "artifacts", name)) != sha256}


def _sha256(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def content(found: Snapshot, world: World) -> list[Violation]:
    """``duplicate``, ``half``, ``wrong``, ``stale``, ``words``: what the catalog says of each file."""
    seen: list[Violation] = []
    unknown = found.names.keys() - {row.item_id for row in found.rows}
    seen += [("words", f"the full-text table knows item {item_id}, which is not there") for item_id in unknown]
    paths = [row.path for row in found.rows]
    seen += [("duplicate", f"{path!r} has several rows") for path in {p for p in paths if paths.count(p) > 1}]
    for row in found.rows:
        # Letters that NFKC or spacing change do not occur after the last dot.
        if not found.names.get(row.item_id, "").endswith(os.fsdecode(row.path).rpartition(".")[2]):
            seen.append(("words", f"{row.path!r} is {found.names.get(row.item_id)!r} in the full-text table"))
        if row.state != "ok":
            seen.append(("wrong", f"{row.path!r} is a whole picture, but {row.state}"))
        # What is gone may have had vectors in a former space only, and `gc` dropped that.
        if row.segments != 1 or not (row.vectors or row.gone):
            seen.append(("half", f"{row.path!r} has {row.segments} segments and vectors in {len(row.vectors)} spaces"))
        if row.sha256 not in world.history.get(row.path, ()):
            seen.append(("wrong", f"{row.path!r} has a content that it never had"))
            continue
        for space, vectors in row.vectors.items():
            if len(vectors) != 1:
                seen.append(("duplicate", f"{row.path!r} has {len(vectors)} vectors in space {space}"))
            if any(blob != world.vector(row.sha256, found.dims[space]) for _, blob in vectors):
                seen.append(("wrong", f"{row.path!r} has another picture's vector"))
        if row.path in world.files and world.files[row.path] != row.sha256 and row.stat == _stat(row.path):
            seen.append(("stale", f"{row.path!r} changed and would never be read again"))
    return seen


def _stat(path: bytes) -> tuple[int, int, int] | None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def current(found: Snapshot, world: World, space: int | None = None) -> set[bytes]:
    """The paths whose present content can be found (in ``space``; None: in any)."""
    return {
        row.path
        for row in found.rows
        if world.files.get(row.path) == row.sha256
        and not row.gone
        and (row.vectors if space is None else space in row.vectors)
    }


def losses(before: Snapshot, after: Snapshot, world: World, acknowledged: int, space: int | None) -> list[Violation]:
    """``lost``: what was there before the run, and what the run had reported."""
    seen: list[Violation] = []
    now = after.by_path()
    for row in before.rows:
        if row.path in world.files:
            if (left := now.get(row.path)) is None:
                seen.append(("lost", f"{row.path!r} was indexed and has no row any more"))
            elif row.sha256 == world.files[row.path] and left.sha256 != row.sha256:
                seen.append(("lost", f"{row.path!r} has not changed, but its row has"))
    findable = current(before, world, before.active) - current(after, world, after.active)
    unlucky = {row.path for row in before.rows if row.path in findable}
    seen += [("lost", f"{path!r} could be found before this run and can't be now") for path in sorted(unlucky)]
    new = len(current(after, world, space) - current(before, world, space))
    if new < acknowledged:
        seen.append(("lost", f"{acknowledged} files were reported as indexed, {new} are"))
    return seen


def reused_ids(found: Snapshot, known: dict[tuple[str, int], str]) -> list[Violation]:
    """``id-reuse``: an id that once meant another content. ``known`` grows with every call."""
    seen = []
    for row in found.rows:
        ids = [("item", row.item_id), *(("segment", s) for v in row.vectors.values() for s, _ in v)]
        for key in dict.fromkeys(ids):
            if known.setdefault(key, row.sha256) != row.sha256:
                seen.append(("id-reuse", f"{key[0]} {key[1]} meant another picture before"))
    return seen


def queries(library: str, found: Snapshot, pictures: list[str]) -> list[Violation]:
    """``query``: answers that are not those of brute force over the catalog's rows."""
    if found.active is None or not os.path.exists(library):
        return []
    live = [row for row in found.rows if not row.gone and found.active in row.vectors]
    segments = np.array([row.vectors[found.active][0][0] for row in live], np.int64)
    dim = found.dims[found.active]
    blobs = b"".join(row.vectors[found.active][0][1] for row in live)
    matrix = np.frombuffer(blobs, "<f2").reshape(len(live), dim).astype(np.float32)
    seen = []
    with Library(library) as opened:
        for text, images, k in (("red", (), 3), ("green blue", (), len(live) + 5), ("blue", tuple(pictures), 7)):
            answer = opened.search(text, images=images, k=k, mode="dense")
            got = [(hit.segment_id, hit.score) for hit in answer]
            expected = _scores(registry.load(f"fake:{dim}"), text, images, matrix)
            if (why := _differs(got, dict(zip(segments.tolist(), expected.tolist(), strict=True)), k)) is not None:
                seen.append(("query", f"{text or 'picture'!r} k={k} by {answer.index} {answer.notes}: {why}"))
    return seen


def _scores(encoder: Encoder, text: str, images: tuple[str, ...], matrix: npt.NDArray[np.float32]) -> np.ndarray:
    total = np.zeros(matrix.shape[1], np.float32)
    if text:
        total += encoder.encode([text], Modality.TEXT)[0]
    for image in images:
        total += encoder.encode([np.load(image + ".npy")], Modality.IMAGE)[0]
    return np.asarray(matrix @ (total / np.linalg.norm(total)))


def _differs(got: list[tuple[int, float]], expected: dict[int, float], k: int) -> str | None:
    if len(got) != min(k, len(expected)):
        return f"{len(got)} hits of {min(k, len(expected))}"
    if got != sorted(got, key=lambda hit: (-hit[1], hit[0])) or len({s for s, _ in got}) != len(got):
        return "the hits are out of order, or twice there"
    best = sorted(expected.values(), reverse=True)
    for (segment, score), right in zip(got, best, strict=False):
        if segment not in expected:
            return f"segment {segment} is not there"
        if abs(score - expected[segment]) > TOLERANCE or abs(score - right) > TOLERANCE:
            return f"segment {segment} scores {score}, not {expected[segment]}; the best left is {right}"
    return None
