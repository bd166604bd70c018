"""A library folder, opened: the one place that wires store, encoders, indexer and retrieval together.

    from mmsearch import Library

    library = Library("./my-library")
    library.index(["./photos"])
    for hit in library.search("a cat on a sofa"):
        print(hit.score, hit.path)

Everything heavy is imported by the method that needs it: a search loads neither SQLAlchemy nor the indexer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mmsearch.encoders import registry
from mmsearch.encoders.mini.blas import one_thread
from mmsearch.errors import NoLibrary, UsageError
from mmsearch.retrieval import moments
from mmsearch.retrieval.arrange import arranged
from mmsearch.retrieval.ask import Answer, Asker, Engine, spaces_for
from mmsearch.retrieval.embed import AT_ONCE, embed, unit
from mmsearch.retrieval.filtering import words_of
from mmsearch.retrieval.listing import LISTING, is_filtered, listed
from mmsearch.store import artifacts, layout, selection
from mmsearch.store.reader import Reader, Space
from mmsearch.types import Asked, Encoder, FloatArray, Modality, Mode, Query, Span, require_same_space

if TYPE_CHECKING:
    import threading
    from types import TracebackType
    from typing import Self

    from mmsearch.indexer.options import Options
    from mmsearch.indexer.summary import Summary
    from mmsearch.retrieval.bridging import Bridged
    from mmsearch.retrieval.classify import Classified
    from mmsearch.retrieval.datasets.base import Dataset
    from mmsearch.retrieval.facets import Facets
    from mmsearch.retrieval.measured import Report
    from mmsearch.retrieval.tune import Tuning
    from mmsearch.store.artifacts import Opened
    from mmsearch.store.catalog import Catalog
    from mmsearch.store.check import Problem
    from mmsearch.types import Hit

__all__ = ["DEFAULT_MODEL", "Answer", "Library"]

DEFAULT_MODEL = "mini"
NOTHING_ASKED = 'nothing was asked: mmsearch query "a cat on a sofa"'


class Library:
    """A folder with an index of your files. Nothing is opened, created or locked before a method needs it.

    ``folder`` None: ``$MMSEARCH_LIBRARY``, else the platform's folder for application data. Searching is
    read-only and safe from several processes at once; the methods that write take the library's lock, waiting
    ``lock_timeout`` seconds for it, and raise ``Locked`` after that.
    """

    def __init__(self, folder: str | None = None, *, lock_timeout: float = 0.0) -> None:
        self.folder = layout.default_folder() if folder is None else os.path.abspath(folder)
        self.lock_timeout = lock_timeout
        self._encoders: dict[tuple[str, str], Encoder] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection that searches use; the next search opens a new one."""
        if "reader" in self.__dict__:
            self.reader.close()
            del self.__dict__["reader"]

    @cached_property
    def reader(self) -> Reader:
        """A read-only view of the catalog. Raises ``NoLibrary`` where there is none."""
        return Reader(self.folder)

    def encoder(self, model: str, device: str = "cpu") -> Encoder:
        """The encoder of this name, loaded once."""
        if (model, device) not in self._encoders:
            self._encoders[model, device] = self._load(model, device)
        return self._encoders[model, device]

    def _load(self, model: str, device: str) -> Encoder:
        if not model.startswith("bridge:"):
            return registry.load(model, device)
        from mmsearch.encoders import bridge

        return bridge.load(model, device, self.folder)

    def _asker(self, space: Space, device: str) -> Encoder:
        """The encoder for questions: with the text tower kept beside the library if there is one, else the model."""
        key = (f"text of {space.fingerprint}", device)
        if key not in self._encoders:
            if space.model.startswith("bridge:"):
                self._encoders[key] = self._bridged(space.model, device)
            else:
                self._encoders[key] = self._kept(space.fingerprint, space.model, device)
        return self._encoders[key]

    def _bridged(self, model: str, device: str) -> Encoder:
        from mmsearch.encoders.bridge import BridgeEncoder

        whole = cast(BridgeEncoder, self.encoder(model, device))
        image = self._kept(whole.bridge.image_space, whole.bridge.image_model, device)
        return BridgeEncoder(whole.spec.name, whole.bridge, device, image)

    def _kept(self, fingerprint: str, model: str, device: str) -> Encoder:
        if device != "cpu" or not os.path.isdir(os.path.join(self.folder, "text", fingerprint)):
            return self.encoder(model, device)
        from mmsearch.encoders import kept

        load = partial(self.encoder, model, device)
        return kept.open_kept(self.folder, fingerprint, load) or load()

    # -- indexing -------------------------------------------------------------------------------------------------

    def index(
        self,
        paths: Sequence[str | bytes],
        *,
        model: str | None = None,
        index: str | None = None,
        device: str = "auto",
        options: Options | None = None,
        progress: Callable[[Summary], None] = lambda summary: None,
        stop: threading.Event | None = None,
    ) -> Summary:
        """Bring the library up to date with these files and folders, making it if there is none.

        ``model`` None keeps the library's model. Another model builds its vectors beside the old ones, and queries
        change over when all files have them. ``index``: a kind, or ``auto`` (as `tune` chose, or what fits); None keeps
        what was asked for before. Set ``stop`` from another thread to end early with all encoded work committed.
        """
        from mmsearch.encoders import kept
        from mmsearch.indexer import unchanged
        from mmsearch.indexer.options import Options

        used: list[Encoder] = []

        def load(name: str) -> Encoder:
            used.append(self.encoder(name, device))
            return used[0]

        absolute = [_absolute(path) for path in paths]
        if index is None and (found := unchanged.look(self.folder, absolute, load, model, options or Options())):
            progress(found)
            return found
        from mmsearch.indexer.run import index_paths

        summary = index_paths(
            self.folder,
            absolute,
            load,
            model=model,
            default_model=DEFAULT_MODEL,
            kind=index,
            device=device,
            options=options,
            progress=progress,
            stop=stop,
            lock_timeout=self.lock_timeout,
        )
        if options is None or not options.dry_run:
            summary.notes += kept.keep(self.folder, _reader_of_words(self.folder, used[0]))
        return summary

    # -- asking ---------------------------------------------------------------------------------------------------

    def search(
        self,
        text: str = "",
        *,
        images: Sequence[str | bytes] = (),
        sounds: Sequence[str | bytes] = (),
        k: int = 10,
        within: str | bytes | None = None,
        modalities: Sequence[Modality] | None = None,
        device: str = "cpu",
        **more: Any,
    ) -> Answer:
        """Find the ``k`` items that are nearest in meaning to words, to files (pictures, sounds), or to their sum.

        Without any of these the filters list what passes them, newest first (or by ``sort``): whole files, no score.
        ``within``: only items at or below this path. ``more``: any other field of ``Query``, such as ``where``,
        ``mode`` or ``min_confidence``. ``device`` "cuda:N" is for the model and a FAISS index. Raises ``NoLibrary``,
        ``UsageError``, ``SpaceMismatch``.
        """
        words = " ".join(text.split())
        files = [Asked("file", os.path.abspath(os.fsdecode(file))) for file in (*images, *sounds)]
        query = Query(
            parts=(*files, *([Asked("text", words)] if words else ())),
            k=k,
            within=None if within is None else _absolute(within),
            modalities=None if modalities is None else frozenset(modalities),
            **more,
        )
        return self.ask(query, device)

    def ask(self, query: Query, device: str = "cpu", *, allow_url: bool = False) -> Answer:
        """Answer a question; ``allow_url`` lets it fetch the addresses among its parts.

        One without parts lists the files that pass its filters, newest first; with neither it raises ``UsageError``.
        """
        return next(self.ask_many([query], device, allow_url=allow_url))

    def ask_many(self, queries: Iterable[Query], device: str = "cpu", *, allow_url: bool = False) -> Iterator[Answer]:
        """Answer questions one after the other, as ``ask`` does; neighbours of like options are encoded together."""
        for like, some in _alike(queries):
            if like.k < 1:
                raise UsageError(f"k must be at least 1, not {like.k}")
            if like.moments < 1:
                raise UsageError(f"moments must be at least 1, not {like.moments}")
            yield from self._answers(some, device, allow_url=allow_url) if like.parts else map(self._listing, some)

    def facets(self, query: Query, fields: Sequence[str], device: str = "cpu", *, allow_url: bool = False) -> Facets:
        """How what a question finds spreads over ``fields``: year, month, camera, folder, modality.

        Of a question in words or with files the best 2,000 hits are counted that are at least ``min_confidence`` sure,
        near-duplicates each; of one with filters alone all that pass.
        """
        from mmsearch.retrieval import facets

        facets.require_fields(fields)
        if query.parts:
            hits: tuple[Hit, ...] = ()
            # Few pass a cut as a rule, and a short list is made much sooner than a long one.
            for k in (100, facets.MOST + 1) if query.min_confidence else (facets.MOST + 1,):
                like = replace(query, k=k, unique=False, sort="score", group=None, moments=1)
                hits = self.ask(like, device, allow_url=allow_url).hits
                if len(hits) < k:
                    break
            with self.reader.snapshot():
                return facets.of_hits(self.reader, hits, fields)
        if not is_filtered(query):
            raise UsageError(NOTHING_ASKED)
        with self.reader.snapshot():
            return facets.of_listing(self.reader, query, fields)

    def _listing(self, query: Query) -> Answer:
        if not is_filtered(query):
            raise UsageError(NOTHING_ASKED)
        started = time.perf_counter()
        active = self.active_space()
        with self.reader.snapshot():
            hits = listed(self.reader, query)
        took = 1e3 * (time.perf_counter() - started)
        return Answer(
            hits=tuple(arranged(hits, group=query.group)),
            space=active,
            index=LISTING,
            took_ms={"load": 0.0, "encode": 0.0, "search": took, "total": took},
            notes=("near-duplicates are listed too: nothing was asked that says which is best",) * query.unique,
        )

    def similar(self, path: str | bytes, query: Query | None = None, device: str = "cpu") -> Answer:
        """The items that are nearest to a file, without itself; if it is indexed, by its stored vectors.

        ``path`` may name a part of it, ``talk.wav@0:38-0:41``. ``query``: how many, and which; its parts don't count.
        """
        name = _absolute(path)
        query = replace(query or Query(), parts=(Asked("file", os.fsdecode(name)),))
        item_id, span = selection.item_at(self.reader, name), None
        if item_id is None:
            file, span = moments.split(os.fsdecode(name))
            item_id = selection.item_at(self.reader, os.fsencode(file))

        def vector(space: Space) -> FloatArray:
            stored = None if item_id is None else _stored(self.reader, item_id, space, span, os.fsdecode(path))
            if stored is not None and len(stored):
                return unit(stored.mean(axis=0))
            return embed(self._asker(space, device), query.parts, space)

        # The cut goes by relevance, whatever the order: one more than asked for, as the file itself may be among them.
        like = replace(query, k=query.k + 1, mode="dense", sort="score", group=None)
        (answer,) = self._answers([like], device, vectors=vector)
        others = [hit for hit in answer if hit.item_id != item_id][: query.k]
        ranked = [replace(hit, rank=rank) for rank, hit in enumerate(others, 1)]
        return replace(answer, hits=tuple(arranged(ranked, query.sort, query.group)))

    def _answers(
        self,
        queries: Sequence[Query],
        device: str,
        *,
        allow_url: bool = False,
        vectors: Callable[[Space], FloatArray] | None = None,
    ) -> Iterator[Answer]:
        """The answers to questions that differ in their parts alone."""
        started = time.perf_counter()
        active, like = self.active_space(), queries[0]
        spaces = [] if like.mode == "lexical" else spaces_for(self.reader, active)
        engines = [Engine(space, self._opened(space, device), partial(self._asker, space, device)) for space in spaces]
        load = time.perf_counter() - started
        with one_thread(), self.reader.snapshot():
            asker = Asker(self.reader, engines, like, allow_url=allow_url, vectors=vectors)
            found = asker.hits(queries)
        total = time.perf_counter() - started
        took = {"load": load, "encode": asker.encoding_s, "search": total - load - asker.encoding_s, "total": total}
        for hits in found:
            yield Answer(
                hits=tuple(arranged(hits, like.sort, like.group)),
                space=active,
                index=engines[0].opened.kind if engines else "words",
                took_ms={name: 1e3 * seconds / len(queries) for name, seconds in took.items()},
                notes=tuple(note for engine in engines for note in engine.opened.notes),
                spaces=tuple((engine.space, engine.opened.kind) for engine in engines),
            )

    def evaluate(
        self,
        dataset: Dataset,
        *,
        mode: Mode = "hybrid",
        depth: int = 100,
        seed: int = 0,
        device: str = "cpu",
        progress: Callable[[str], None] = lambda text: None,
    ) -> Report:
        """Measure how well this library answers a set (`retrieval.datasets.read`) whose files were indexed into it.

        ``mode``: how questions in words are asked. ``depth``: so many answers of each question are kept. ``progress``
        hears what is going on. Raises ``NoLibrary``, ``SpaceMismatch``, ``UsageError``.
        """
        from mmsearch.retrieval.evaluate import Subject, evaluate

        space = self.active_space()
        require_same_space(space.fingerprint, self.encoder(space.model, device).spec.space)

        def ask(text: str, k: int, modality: Modality) -> Answer:
            return self.search(text, k=k, modalities=[modality], device=device, mode=mode)

        engines = [
            Engine(one, self._opened(one, device), partial(self.encoder, one.model, device))
            for one in spaces_for(self.reader, space)
        ]
        subject = Subject(self.folder, self.reader, engines, mode, ask)
        return evaluate(dataset, subject, depth=depth, seed=seed, progress=progress)

    def _opened(self, space: Space, device: str) -> Opened:
        return artifacts.open_newest(self.reader, self.folder, space, artifacts.index_device(device))

    def tune(self, *, device: str = "cpu", dry_run: bool = False, **more: Any) -> Tuning:
        """Measure which index finds nearly all that an exact search finds, soonest; ``auto`` builds it from now on.

        ``more`` (``target``, ``k``, ``budget`` in seconds, ``rows``, ``questions``, ``seed``) as
        `retrieval.tuning.tune_library` takes it. Raises ``NoLibrary``, ``UsageError``, ``SpaceMismatch``, ``Locked``.
        """
        from mmsearch.retrieval.tuning import keep, tune_library

        space = self.active_space()
        encoder = self.encoder(space.model, device)
        require_same_space(space.fingerprint, encoder.spec.space)
        tuning = tune_library(self.reader, space, encoder, **more)
        if not dry_run:
            with self.catalog() as catalog:
                keep(catalog, space, tuning, artifacts.index_device(device))
        return tuning

    def duplicates(self, close: float = 0.9) -> list[list[bytes]]:
        """Groups of files that repeat each other: the same bytes, or pictures that differ in size or quality only."""
        from mmsearch.retrieval.dedup import groups

        with self.reader.snapshot():
            return groups(self.reader, self.active_space(), close)

    def classify(
        self,
        labels: Sequence[str],
        paths: Sequence[str],
        k: int = 1,
        *,
        model: str | None = None,
        templates: Sequence[str] = (),
        device: str = "cpu",
    ) -> Classified:
        """For each file its ``k`` best labels, and the files that could not be read, with the reason.

        ``model`` None: the library's, or the default where there is no library; none is made.
        """
        from mmsearch.retrieval.classify import TEMPLATES, classify

        if model is None:
            model = self.active_space().model if layout.holds_library(self.folder) else DEFAULT_MODEL
        return classify(self.encoder(model, device), labels, paths, k, templates or TEMPLATES)

    def active_space(self) -> Space:
        """The space that queries use. Raises ``NoLibrary`` before anything was indexed."""
        space = self.reader.active_space()
        if space is None:
            raise NoLibrary(f"nothing is indexed in {self.folder} yet: mmsearch index FOLDER")
        return space

    # -- upkeep ---------------------------------------------------------------------------------------------------

    def catalog(self, dry_run: bool = False) -> Catalog:
        """Open the library for writing; holds the lock until closed. Raises ``NoLibrary`` where there is none."""
        from mmsearch.store.catalog import Catalog

        layout.require_library(self.folder)
        return Catalog(self.folder, self.lock_timeout, dry_run=dry_run)

    def check(self, level: str = "fast") -> list[Problem]:
        """What is wrong with the library: ``fast``, ``data`` (every checksum) or ``deep`` (vectors find themselves)."""
        from mmsearch.store.check import check

        return check(self.folder, level)

    def repair(self, dry_run: bool = False) -> list[str]:
        """Rebuild what is derived and damaged; says what was (or would be) done. Encodes nothing."""
        from mmsearch.store.repair import repair

        return repair(self.folder, self.lock_timeout, dry_run)

    def prune(self, dry_run: bool = False) -> list[bytes]:
        """Forget missing files for good; returns their paths."""
        from mmsearch.store import roots

        with self.catalog(dry_run) as catalog:
            return roots.prune(catalog, dry_run)

    def forget(self, path: str | bytes) -> int:
        """Forget what is indexed at or below a path; the files stay. Says how many items that were."""
        from mmsearch.store import roots

        with self.catalog() as catalog:
            return roots.forget(catalog, _absolute(path))

    def relocate(self, old: str | bytes, new: str | bytes) -> int:
        """Tell the library that a folder moved; says how many items moved with it. Nothing is encoded again."""
        from mmsearch.store import roots

        with self.catalog() as catalog:
            return roots.relocate(catalog, _absolute(old), _absolute(new))

    def bridge(
        self,
        *,
        image_model: str | None = None,
        audio_model: str | None = None,
        sentences: Sequence[str] = (),
        device: str = "cpu",
    ) -> Bridged:
        """Make one space of an image-text and an audio-text model's, from the stored vectors and words alone.

        Raises ``UsageError`` where the library does not hold two such spaces, ``EncoderError`` where no map holds.
        """
        from mmsearch.retrieval.bridging import bridge_library

        with self.catalog() as catalog:
            return bridge_library(
                catalog,
                lambda name: self.encoder(name, device),
                image_model=image_model,
                audio_model=audio_model,
                sentences=sentences,
            )

    def gc(self, dry_run: bool = False) -> list[str]:
        """Drop spaces that queries no longer use and files that nothing names; says what was (or would be) dropped."""
        from mmsearch.encoders import bridge, kept
        from mmsearch.store.gc import collect

        with self.catalog(dry_run) as catalog:
            lines = collect(catalog, dry_run)
            if not dry_run:
                spaces = [space.fingerprint for space in catalog.reader.spaces()]
                kept.drop(self.folder, [*spaces, *bridge.image_spaces(self.folder)])
            return lines


def _reader_of_words(folder: str, encoder: Encoder) -> Encoder:
    """The encoder whose text tower answers questions; the map of a bridge is copied into the library."""
    if not encoder.spec.name.startswith("bridge:"):
        return encoder
    from mmsearch.encoders import bridge

    made = cast(bridge.BridgeEncoder, encoder)
    bridge.keep(folder, made)
    return made.image


def _stored(reader: Reader, item_id: int, space: Space, span: Span | None, name: str) -> FloatArray:
    """What is stored of an item, or of the part that a span touches, float32 ``(n, dim)``; of a film the pictures."""
    from mmsearch.store.parts import parts

    found = parts(reader, item_id, space)
    vectors = [vector for _, vector in found]
    if found and span is not None:
        vectors = moments.within(found, span, name, len(found))
    return np.stack(vectors) if vectors else np.empty((0, space.dim), np.float32)


def _alike(queries: Iterable[Query]) -> Iterator[tuple[Query, list[Query]]]:
    """Runs of questions, at most ``AT_ONCE``, that differ in their parts alone, each with its first; listings apart.

    What quotes a word is a filter of its own.
    """
    run: list[Query] = []
    for query in queries:
        if run and (len(run) == AT_ONCE or _options(query) != _options(run[0])):
            yield run[0], run
            run = []
        run.append(query)
    if run:
        yield run[0], run


def _options(query: Query) -> tuple[Query, bool, list[str]]:
    return replace(query, parts=()), bool(query.parts), [] if query.mode == "dense" else words_of(query)[1]


def _absolute(path: str | bytes) -> bytes:
    return os.path.abspath(os.fsencode(path))
