"""Kinds of vector index by name: which there are, which one fits, how one is built and opened.

Built-in kinds are known by name, so that opening an exact index reads no package metadata and imports no FAISS; other
kinds come from the entry-point group ``mmsearch.indexes``. Either way a kind is one ``IndexKind``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, cast

from mmsearch.errors import UsageError
from mmsearch.types import Embeddings, VectorIndex

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "mmsearch.indexes"
BUILTIN = {
    "exact": "mmsearch.store.exact:EXACT",
    "flat": "mmsearch.store.faiss_kinds:FLAT",
    "ivfpq": "mmsearch.store.faiss_kinds:IVFPQ",
    "sq8": "mmsearch.store.faiss_kinds:SQ8",
    "sq16": "mmsearch.store.faiss_kinds:SQ16",
    "hnsw": "mmsearch.store.faiss_kinds:HNSW",
    "hash": "mmsearch.store.hashing:HASH",
}
EXACT_NUMBERS = 2**30
"""How many numbers ``auto`` scans rather than approximates: 2 million vectors of 512, or 2 GB in float16."""

Blocks: TypeAlias = Callable[[], Iterator[Embeddings]]
"""The embeddings as a stream that can be started again: a trained index reads it twice."""


class Built(NamedTuple):
    """An index ready to be written: its bytes, piece by piece, and what ``open_index`` must be told."""

    chunks: Iterable[bytes]
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """A kind, what it is built with and what it is opened with; what is not named here is as the kind likes it."""

    kind: str
    build: dict[str, Any] = field(default_factory=dict)
    search: dict[str, Any] = field(default_factory=dict)

    def matches(self, params: Mapping[str, Any]) -> bool:
        """Whether an index with these recorded parameters was built so and is opened so."""
        return all(params.get(name) == value for name, value in {**self.build, **self.search}.items())


class IndexKind(Protocol):
    """How a kind of index becomes a file and a file becomes an index. What it is built with it may choose to know."""

    def build(self, blocks: Blocks, rows: int, dim: int, *, device: str = "cpu", **options: Any) -> Built: ...

    def open(
        self, path: str | bytes, rows: int, dim: int, params: Mapping[str, Any], *, device: str
    ) -> VectorIndex: ...


def choose(wanted: str, rows: int, dim: int) -> str:
    """``wanted``, or for ``auto`` what fits: an exact scan while that is fast, IVF-PQ above it where FAISS is there."""
    if wanted != "auto":
        find(wanted)
        return wanted
    return "ivfpq" if rows * dim > EXACT_NUMBERS and find_spec("faiss") else "exact"


def build(kind: str | Setting, blocks: Blocks, rows: int, dim: int, *, device: str = "cpu") -> Built:
    """Build an index of ``rows`` vectors of ``dim`` numbers. Raises ``MissingExtra`` when its library is absent."""
    setting = Setting(kind) if isinstance(kind, str) else kind
    made = find(setting.kind).build(blocks, rows, dim, device=device, **setting.build)
    return Built(made.chunks, {**made.params, **setting.build, **setting.search})


def can_build(kind: str) -> bool:
    """Whether what a kind needs is installed, as far as its name tells."""
    return "faiss" not in BUILTIN.get(kind, "") or find_spec("faiss") is not None


def open_index(
    kind: str, path: str | bytes, rows: int, dim: int, params: Mapping[str, Any], *, device: str = "cpu"
) -> VectorIndex:
    """Open the file that ``build`` made. Raises ``Damaged`` when it is not such a file."""
    return find(kind).open(path, rows, dim, params, device=device)


def is_kind(name: str) -> bool:
    """Whether there is a kind of this name."""
    return name in BUILTIN or name in _plugins()


def find(kind: str) -> IndexKind:
    """The kind of this name. Raises ``UsageError`` naming the nearest when there is none."""
    if kind in BUILTIN:
        module, name = BUILTIN[kind].split(":")
        return cast(IndexKind, getattr(import_module(module), name))
    import difflib

    plugins = _plugins()
    if kind in plugins:
        return cast(IndexKind, plugins[kind].load())
    names = sorted({"auto", *BUILTIN, *plugins})
    near = difflib.get_close_matches(kind, names, cutoff=0.4) or names
    raise UsageError(f"no index kind {kind!r}: did you mean {' or '.join(near)}?")


def _plugins() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {plugin.name: plugin for plugin in entry_points(group=GROUP)}
