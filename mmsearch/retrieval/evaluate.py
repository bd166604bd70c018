"""Measure how good a library's answers are: its own encoder, its own index, its own search, asked what a set asks.

Questions in words take the way of `query`, through `ask.Asker`, some at a time and in the mode that was asked for. A
few are asked once more through ``Library.search``, for the latency, for the confidence, and to see that the answers are
the same. Files of the library that are not in the set are searched too: as wrong answers. Files that ask are no words:
they ask by their vectors, in every mode.

The other way round, the texts are put into an index of the library's kind, and every file asks with the vector that is
stored for it (the mean of its segments').
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

import numpy as np

from mmsearch.errors import UsageError
from mmsearch.retrieval import machine
from mmsearch.retrieval.ask import Answer, Asker, Engine
from mmsearch.retrieval.datasets.base import Dataset
from mmsearch.retrieval.measured import Direction, Report, Sure
from mmsearch.retrieval.metrics import Qrels, score_all
from mmsearch.retrieval.search import Searcher
from mmsearch.retrieval.texts import Words, nearest_texts
from mmsearch.store import selection
from mmsearch.store.artifacts import Opened
from mmsearch.store.reader import Found, Reader, Space
from mmsearch.types import Asked, Encoder, FloatArray, IdArray, Media, Modality, Mode, Query

Answers: TypeAlias = tuple[list[int], list[float]]
"""Numbers of documents with their scores, best first."""

DEPTH = 100
"""So many answers of each question are kept: 25,000 questions are 30 MB."""
TIMED = 50
"""So many questions are asked one by one, for the latency and the confidence of a real query."""
QUESTIONS = 256
"""Searched at a time."""
SURE = 0.5
"""The confidence from which a hit counts as shown."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An opened library. ``engines``: the spaces that a question asks, the library's own first.

    ``ask``: a question in words as `Library.search` answers it, among files of one kind.
    """

    folder: str
    reader: Reader
    engines: Sequence[Engine]
    mode: Mode
    ask: Callable[[str, int, Modality], Answer]

    @property
    def space(self) -> Space:
        return self.engines[0].space

    @property
    def opened(self) -> Opened:
        return self.engines[0].opened

    @property
    def encoder(self) -> Encoder:
        return self.engines[0].encoder()


class _Once:
    """An encoder that encodes a text but once, however many directions of a set ask it."""

    def __init__(self, encoder: Encoder, words: Words) -> None:
        self.spec, self._encoder, self._words = encoder.spec, encoder, words

    def encode(self, batch: Sequence[Media], modality: Modality) -> FloatArray:
        return self._encoder.encode(batch, modality)

    def encode_query(self, batch: Sequence[Media], modality: Modality) -> FloatArray:
        if modality is Modality.TEXT:
            return self._words.asked(cast(Sequence[str], batch))
        return self.encode(batch, modality)


def linked(dataset: Dataset, folder: str) -> Dataset:
    """The same set with its files as symbolic links in a new folder, which a library can index and nothing else."""
    documents = list(dataset.documents)
    for number, document in enumerate(documents):
        if document.path is not None and os.path.isfile(document.path):
            link = os.path.join(os.fsencode(folder), b"%07d%s" % (number, os.path.splitext(document.path)[1]))
            os.symlink(document.path, link)
            documents[number] = replace(document, path=link)
    return replace(dataset, documents=documents)


def evaluate(
    dataset: Dataset,
    subject: Subject,
    *,
    depth: int = DEPTH,
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """Ask a library everything that a set asks, in every direction that the set and the encoder have.

    ``progress`` hears what is going on. The set's files must have been indexed; what was not is a miss. Raises
    ``UsageError`` if nothing can be asked.
    """
    session = _Session(dataset, subject, depth, seed, progress)
    directions = list(session.directions())
    if not directions:
        raise UsageError(f"{dataset.name}: {subject.space.model} has no pair of modalities that this set asks for")
    return Report(dataset, directions, session.facts(), session.notes)


class _Remembering(Reader):
    """A reader of one snapshot, which asks the catalog only once for each segment.

    Nothing changes in a snapshot, so the answers stay those of a real search; of 100 answers, to look up whose segments
    they are takes more time than to find them.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self._known: dict[int, Found | None] = {}

    def live(self, segment_ids: Sequence[int]) -> dict[int, Found]:
        known = self._known
        if new := [i for i in segment_ids if i not in known]:
            found = super().live(new)
            known.update((i, found.get(i)) for i in new)
        return {i: segment for i in segment_ids if (segment := known[i]) is not None}


class _Session:
    """One evaluation: the documents of the set and of the library, numbered, with their vectors."""

    def __init__(
        self, dataset: Dataset, subject: Subject, depth: int, seed: int, progress: Callable[[str], None]
    ) -> None:
        self.dataset, self.subject, self.depth, self.seed, self.tell = dataset, subject, depth, seed, progress
        self.words = Words(subject.encoder, lambda done: progress(f"{done} texts encoded"))
        self.notes: list[str] = []
        self.took: list[dict[str, float]] = []
        self.names = [document.id for document in dataset.documents]
        self.number = {d.path: n for n, d in enumerate(dataset.documents) if d.path is not None}
        self.held: dict[Modality, dict[int, FloatArray]] = {}
        self._read_library()

    def _read_library(self) -> None:
        """The vectors of every file in the library, by kind and number; those that the set lacks come after its own."""
        reader, space = self.subject.reader, self.subject.space
        for item in reader.items():
            if item.modality is None or item.state not in ("ok", "partial"):
                continue
            vectors = selection.item_vectors(reader, item.id, space)
            if not len(vectors):
                continue
            if item.path not in self.number:
                self.number[item.path] = len(self.names)
                self.names.append(os.fsdecode(item.path))
            self.held.setdefault(Modality(item.modality), {})[self.number[item.path]] = vectors

    def directions(self) -> Iterable[Direction]:
        wanted = [document.modality for document in self.dataset.documents]
        there = self.subject.encoder.spec.modalities
        for modality in sorted(set(wanted), key=list(Modality).index):
            pairs = [pair for pair in self.dataset.pairs if wanted[pair[1]] is modality]
            lacks = {modality, Modality.TEXT} - there
            if lacks:
                self.notes.append(f"{modality} files are not asked for: the model takes no {', '.join(lacks)}")
            if not pairs or lacks:
                continue
            if modality is Modality.TEXT:
                yield self._text_to_text(pairs)
            else:
                yield self._text_to_files(modality, pairs)
                yield self._files_to_text(modality, pairs)
        if self.dataset.labelled:
            yield from self._between_files(set(wanted) & there)

    def _text_to_files(self, target: Modality, pairs: list[tuple[int, int, float]]) -> Direction:
        texts, qrels = _asked(pairs)
        sentences = [self.dataset.texts[t].text for t in texts]
        hits = self._answers(sentences, target)
        found = self._ask_again(sentences, hits, target, qrels)
        ids = [self.dataset.texts[t].id for t in texts]
        vectors = self.words.asked(sentences)
        return self._direction(Modality.TEXT, target, ids, sentences, hits, qrels, vectors, found)

    def _answers(self, texts: list[str], target: Modality) -> list[Answers]:
        """What the library answers to questions in words, in the mode that was asked for."""
        like = Query(parts=(), k=self.depth, mode=self.subject.mode, modalities=frozenset([target]))
        first, *others = self.subject.engines
        engines = [replace(first, encoder=lambda: cast(Encoder, _Once(first.encoder(), self.words))), *others]
        if self.subject.mode != "lexical":
            self.words.asked(texts)  # all at once: texts of like length together
        answers: list[Answers] = []
        with closing(_Remembering(self.subject.folder)) as reader, reader.snapshot():
            if self.subject.mode == "dense":
                engines = engines[:1]
            asker = Asker(reader, engines, like)
            for start in range(0, len(texts), QUESTIONS):
                asked = [replace(like, parts=(Asked("text", text),)) for text in texts[start : start + QUESTIONS]]
                for ranking in asker.rankings(asked):
                    there = [(self.number.get(path, -1), score) for path, score in ranking]
                    known = [(number, score) for number, score in there if number >= 0]
                    answers.append(([number for number, _ in known], [score for _, score in known]))
                self.tell(f"{len(answers)} of {len(texts)} questions asked of {target} files")
        return answers

    def _between_files(self, kinds: set[Modality]) -> Iterable[Direction]:
        """Files that find files of another kind with the same label: a photo of a dog finds its bark."""
        documents = self.dataset.documents
        for source in sorted(kinds, key=list(Modality).index):
            for target in sorted(kinds - {source}, key=list(Modality).index):
                by_label: dict[str | None, list[int]] = {}
                for number, document in enumerate(documents):
                    if document.modality is target and document.label is not None:
                        by_label.setdefault(document.label, []).append(number)
                asking = [n for n, d in enumerate(documents) if d.modality is source and d.label in by_label]
                pairs = [(n, other, 1.0) for n in asking for other in by_label[documents[n].label]]
                if not pairs:
                    continue
                rows, qrels = _asked(pairs)
                vectors, names = self._questions(source, rows), [self.names[n] for n in rows]
                hits = self._search(vectors, target)
                yield self._direction(source, target, names, names, hits, qrels, vectors)

    def _files_to_text(self, source: Modality, pairs: list[tuple[int, int, float]]) -> Direction:
        texts = sorted({text for text, _, _ in pairs})
        column = {text: i for i, text in enumerate(texts)}
        files, qrels = _asked([(document, column[text], gain) for text, document, gain in pairs])
        vectors = self.words.found([self.dataset.texts[t].text for t in texts])
        questions, names = self._questions(source, files), [self.names[n] for n in files]
        run, scores = nearest_texts(self.subject.opened.kind, vectors, questions, self.depth)
        labels = (
            np.array([int(qrels.document[start]) for start in qrels.starts[:-1]]) if self.dataset.labelled else None
        )
        exact = score_all(questions, vectors, np.arange(len(vectors)), qrels)
        ids = [self.dataset.texts[t].id for t in texts]
        return Direction(source, Modality.TEXT, names, names, ids, run, scores, qrels, exact, labels, self.seed)

    def _text_to_text(self, pairs: list[tuple[int, int, float]]) -> Direction:
        texts, qrels = _asked(pairs)
        there = [n for n, document in enumerate(self.dataset.documents) if document.text]
        sentences = [self.dataset.texts[t].text for t in texts]
        questions = self.words.asked(sentences)
        vectors = self.words.found([self.dataset.documents[n].text or "" for n in there])
        rows, scores = nearest_texts(self.subject.opened.kind, vectors, questions, self.depth)
        run = np.where(rows < 0, -1, np.array(there)[rows])
        exact = score_all(questions, vectors, np.array(there), qrels)
        ids = [self.dataset.texts[t].id for t in texts]
        return Direction(
            Modality.TEXT, Modality.TEXT, ids, sentences, self.names, run, scores, qrels, exact, None, self.seed
        )

    def _direction(
        self,
        source: Modality,
        target: Modality,
        ids: list[str],
        asked: list[str],
        hits: list[Answers],
        qrels: Qrels,
        vectors: FloatArray,
        sure: Sure | None = None,
    ) -> Direction:
        run, scores = self._as_arrays(hits)
        held = self.held.get(target, {})
        owners = np.array(sorted(held), np.int64)
        segments = np.concatenate([held[n] for n in owners.tolist()]) if held else np.empty((0, self.subject.space.dim))
        repeated = np.repeat(owners, [len(held[n]) for n in owners.tolist()])
        exact = score_all(vectors, segments.astype(np.float32, copy=False), repeated, qrels)
        by_cosine = sure is None or self.subject.mode == "dense"
        return Direction(
            source, target, ids, asked, self.names, run, scores, qrels, exact, None, self.seed, sure, by_cosine
        )

    def _as_arrays(self, hits: list[Answers]) -> tuple[IdArray, FloatArray]:
        run = np.full((len(hits), self.depth), -1, np.int64)
        scores = np.zeros((len(hits), self.depth), np.float32)
        for row, (found, values) in enumerate(hits):
            run[row, : len(found)], scores[row, : len(found)] = found, values
        return run, scores

    def _search(self, vectors: FloatArray, target: Modality) -> list[Answers]:
        """What the library answers to unit vectors; a zero row gets nothing."""
        answers: list[Answers] = [([], [])] * len(vectors)
        rows = np.flatnonzero(vectors.any(axis=1))
        with closing(_Remembering(self.subject.folder)) as reader, reader.snapshot():
            within = selection.select(reader, modalities=[target]).ids() if len(self.held) > 1 else None
            searcher = Searcher(reader, self.subject.space, self.subject.opened)
            for start in range(0, len(rows), QUESTIONS):
                some = rows[start : start + QUESTIONS]
                for row, ranked in zip(
                    some.tolist(), searcher.search_all(vectors[some], self.depth, within), strict=True
                ):
                    answers[row] = [self.number[hit.found.path] for hit in ranked], [hit.score for hit in ranked]
                self.tell(f"{start + len(some)} of {len(rows)} questions asked of {target} files")
        return answers

    def _ask_again(self, texts: list[str], hits: list[Answers], target: Modality, qrels: Qrels) -> Sure:
        """Ask some questions as a user would: one at a time, through the front door."""
        chosen = np.random.default_rng(self.seed).permutation(len(texts))[:TIMED].tolist()
        differ = shown = right = wanted = 0
        for row in chosen:
            answer = self.subject.ask(texts[row], self.depth, target)
            self.took.append(answer.took_ms)
            found = np.array([hit.score for hit in answer])
            differ += len(found) != len(hits[row][1]) or not np.allclose(found, hits[row][1], atol=1e-4)
            gold = set(qrels.document[int(qrels.starts[row]) : int(qrels.starts[row + 1])].tolist())
            sure = [self.number.get(hit.path, -1) for hit in answer if (hit.confidence or 0) >= SURE]
            shown, right, wanted = shown + len(sure), right + len(gold.intersection(sure)), wanted + len(gold)
        if differ:
            self.notes.append(
                f"{differ} of {len(chosen)} questions got other answers from `mmsearch query` than measured here"
            )
        return Sure(right, shown - right, wanted)

    def _questions(self, source: Modality, files: list[int]) -> FloatArray:
        """What files ask with, float32 ``(n, dim)``: zero rows for those that could not be indexed."""
        rows = np.zeros((len(files), self.subject.space.dim), np.float32)
        for row, number in enumerate(files):
            if (vectors := self.held.get(source, {}).get(number)) is not None:
                mean = vectors.mean(axis=0)
                rows[row] = mean / max(float(np.linalg.norm(mean)), 1e-9)
        return rows

    def facts(self) -> dict[str, object]:
        """On what and with what it was measured; every report carries it."""
        subject, dataset = self.subject, self.dataset
        kinds = {document.modality for document in dataset.documents}
        artifact = next(iter(subject.reader.artifacts(subject.space.id)), None)
        return {
            "model": subject.space.model,
            "space": subject.space.fingerprint,
            "model licence": subject.encoder.spec.licence,
            "dataset": dataset.name,
            "format": dataset.format,
            "split": dataset.split,
            "captions": dataset.captions,
            "revision": dataset.revision,
            "texts": len(dataset.texts),
            "documents": len(dataset.documents),
            "searched": len({n for kind in kinds for n in self.held.get(kind, {})}),
            "problems": len(dataset.problems),
            "index": subject.opened.kind,
            "mode": subject.mode,
            "index settings": artifact.params if artifact else "{}",
            "depth": self.depth,
            "seed": self.seed,
            **machine.latency("query", [took["total"] for took in self.took]),
            **machine.latency("search", [took["search"] for took in self.took]),
            "machine": machine.hardware(),
            "peak memory MB": machine.peak_mb(),
            "versions": machine.versions(),
        }


def _asked(pairs: Iterable[tuple[int, int, float]]) -> tuple[list[int], Qrels]:
    """The questions that have a right answer, in order, and their judgements by row."""
    pairs = list(pairs)
    asked = sorted({pair[0] for pair in pairs if pair[2] > 0})
    row = {query: i for i, query in enumerate(asked)}
    return asked, Qrels.of([(row[q], d, gain) for q, d, gain in pairs if q in row], len(asked))
