"""Vector indexes as files: published file first, row last; opened only when their content is proved.

FAISS's own writer loses the tail of a file on a full disk and still returns success (measured: 20 of 60), and its
files carry no checksum, so the bytes are written, counted, synced and hashed here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmsearch import own
from mmsearch.errors import MMSearchError, StorageFull
from mmsearch.own import PRIVATE_FILE
from mmsearch.store import indexes, layout
from mmsearch.store.indexes import Setting
from mmsearch.store.layout import ARTIFACTS, sync_folder
from mmsearch.store.reader import TUNED, Artifact, Reader, Space
from mmsearch.types import VectorIndex

if TYPE_CHECKING:  # SQLAlchemy is only for writers, and a query opens artifacts
    from mmsearch.store.catalog import Catalog

GENERATIONS = 2
"""How many indexes of a space are kept: the newest, and one to fall back on."""

SCANNED = 4096
"""So many rows are read from the catalog with every query without an index (about 15 ms)."""

STALE = 0.02
"""The share of rows that may come after an index before it is built again."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A vector index and how far it goes; rows with ``seq > max_seq`` must be scanned beside it."""

    index: VectorIndex | None
    max_seq: int
    kind: str
    notes: tuple[str, ...] = ()
    """What was wrong with artifacts that had to be passed over."""


def tuned(reader: Reader, space: Space) -> Setting | None:
    """What `mmsearch tune` chose for a space; None if it never did, or if what it chose can't be built here."""
    text = reader.setting(f"{TUNED}{space.id}")
    setting = None if text is None else Setting(**json.loads(text)["setting"])
    return setting if setting is not None and indexes.can_build(setting.kind) else None


def outgrown(reader: Reader, space: Space) -> bool:
    """Whether a space has more than twice the vectors that it was tuned for: recall sinks as a library grows."""
    text = reader.setting(f"{TUNED}{space.id}")
    return text is not None and reader.count(space.id) > 2 * int(json.loads(text)["rows"])


def setting_for(reader: Reader, space: Space, kind: str, rows: int) -> Setting:
    """How an index of this kind is built for a space: as it was tuned, if ``kind`` is ``auto`` or what was chosen."""
    best = tuned(reader, space)
    if best is not None and kind in ("auto", best.kind):
        return best
    return Setting(indexes.choose(kind, rows, space.dim))


def publish(catalog: Catalog, space: Space, kind: str = "auto", device: str = "cpu") -> Artifact:
    """Build an index over all vectors of a space and make it the one that queries use.

    A kill at any instant leaves either the old state or the new one; a disk that fills up raises
    ``StorageFull`` and leaves the old one.
    """
    reader = catalog.reader
    with reader.snapshot():
        rows, max_seq = reader.count(space.id), reader.max_seq(space.id)
        setting = setting_for(reader, space, kind, rows)
        chunks, params = indexes.build(
            setting, lambda: reader.blocks(space.id, space.dim, upto=max_seq), rows, space.dim, device=device
        )
        kind, generation, path = setting.kind, *_place(catalog, setting.kind)
        size, sha256 = _write(path, chunks, layout.mode(catalog.folder))
    artifact = Artifact(
        generation, space.id, kind, size, sha256, signature(path), rows, max_seq, json.dumps(params, sort_keys=True)
    )
    catalog.add_artifact(artifact)
    drop_old(catalog)
    return artifact


def refresh(catalog: Catalog, space: Space, kind: str | None = None, device: str = "cpu") -> Artifact | None:
    """Publish an index if it is worth one: another kind is wanted, or too many rows came since the newest.

    ``kind`` None means the kind that was last asked for.
    """
    if kind is not None:
        catalog.set("index_kind", kind)
    if not is_worth(catalog.reader, space):
        return None
    return publish(catalog, space, _wanted(catalog.reader), device)


def is_worth(reader: Reader, space: Space) -> bool:
    """Whether `refresh` would publish an index."""
    kind, rows = _wanted(reader), reader.count(space.id)
    newest = next(iter(reader.artifacts(space.id)), None)
    if newest is None:
        return rows > SCANNED or (kind != "auto" and rows > 0)
    fresh, setting = reader.count(space.id, after=newest.max_seq), setting_for(reader, space, kind, rows)
    other = newest.kind != setting.kind or not setting.matches(json.loads(newest.params))
    return fresh > max(SCANNED, newest.rows * STALE) or other


def _wanted(reader: Reader) -> str:
    return reader.setting("index_kind") or "auto"


def index_device(device: str) -> str:
    """Where indexes go: on a GPU only if one was named; for ``auto``, the copy would cost more than it saves."""
    return device if device.startswith("cuda") else "cpu"


def _place(catalog: Catalog, kind: str) -> tuple[int, str]:
    """The next generation and its path, neither of which bears the name of anything that is there already."""
    folder, generation = layout.require_own_artifacts(catalog.folder), catalog.next_generation()
    while True:
        path = os.path.join(folder, f"{generation}.{kind}")
        if not os.path.lexists(path) and not os.path.lexists(f"{path}.tmp"):
            return generation, path
        generation += 1


def _write(path: str, chunks: Iterable[bytes | memoryview], mode: int = PRIVATE_FILE) -> tuple[int, str]:
    """Write, sync and rename into place; returns the size and the sha256 of what was written."""
    digest, size, temporary = hashlib.sha256(), 0, f"{path}.tmp"
    try:
        with open(own.create(temporary, mode), "wb", buffering=0) as file:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                _write_all(file.fileno(), chunk)
            os.fsync(file.fileno())
            written = os.fstat(file.fileno()).st_size
        if written != size:
            raise OSError(f"{written} of {size} bytes arrived")
        os.replace(temporary, path)
        sync_folder(os.path.dirname(path))
    except OSError as error:
        if not isinstance(error, FileExistsError):
            own.remove(temporary)
        needed = f"{size / 1e6:.0f} MB and more are needed"
        raise StorageFull(f"{path}: {error.strerror or error}: {needed}; the old index still answers") from error
    return size, digest.hexdigest()


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def signature(path: str) -> str:
    """What tells cheaply that a file was not touched: any write, copy or rename changes it."""
    status = os.stat(path)
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def wrong_with(path: str, artifact: Artifact, read_data: bool = False) -> str | None:
    """What is wrong with an artifact's file, None if nothing is.

    Its sha256 is computed when the file was touched since it was last known to be right, or on ``read_data``:
    hashing on every query would cost 0.7 s a gigabyte.
    """
    try:
        if os.path.getsize(path) != artifact.bytes:
            return f"{artifact.file} has {os.path.getsize(path)} bytes, not {artifact.bytes}"
        if not read_data and signature(path) == artifact.stat:
            return None
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != artifact.sha256:
                return f"{artifact.file} is damaged: its sha256 is not the recorded one"
    except OSError as error:
        return f"{artifact.file}: {error.strerror}"
    return None


def damaged_indexes(reader: Reader, folder: str, space: Space, read_data: bool = False) -> Iterator[str]:
    """What is wrong with the artifacts of a space, newest first."""
    for artifact in reader.artifacts(space.id):
        if wrong := wrong_with(os.path.join(folder, ARTIFACTS, artifact.file), artifact, read_data):
            yield wrong


def open_newest(reader: Reader, folder: str, space: Space, device: str = "cpu") -> Opened:
    """The newest artifact of a space that is intact; without one, ``index`` is None and everything is scanned."""
    notes: list[str] = []
    for artifact in reader.artifacts(space.id):
        path = os.path.join(folder, ARTIFACTS, artifact.file)
        if (wrong := wrong_with(path, artifact)) is not None:
            notes.append(f"{wrong}: run `mmsearch repair`")
            continue
        try:
            params = json.loads(artifact.params)
            index = indexes.open_index(artifact.kind, path, artifact.rows, space.dim, params, device=device)
        except (MMSearchError, OSError) as error:
            notes.append(f"{artifact.file} can't be used: {error}")
            continue
        return Opened(index, artifact.max_seq, artifact.kind, tuple(notes))
    return Opened(None, 0, "scan", tuple(notes))


def drop_old(catalog: Catalog) -> None:
    """Drop all but the newest generations, row first, and files that no row names."""
    reader, kept = catalog.reader, set[str]()
    for space in reader.spaces():
        artifacts = reader.artifacts(space.id)
        kept |= {artifact.file for artifact in artifacts[:GENERATIONS]}
        catalog.drop_artifacts([artifact.id for artifact in artifacts[GENERATIONS:]])
    folder = os.path.join(catalog.folder, ARTIFACTS)
    for name in os.listdir(folder) if own.is_folder(folder) else ():
        if name not in kept and _is_named_by_us(name):
            own.remove(os.path.join(folder, name))


def _is_named_by_us(name: str) -> bool:
    """``<digits>.<kind>``, perhaps with ``.tmp``: nothing else in the folder is touched."""
    number, _, kind = name.removesuffix(".tmp").partition(".")
    return number.isascii() and number.isdecimal() and indexes.is_kind(kind)
