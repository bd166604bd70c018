"""Tune a library: take a sample of its vectors and questions that it may be asked, and keep what was found best."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial

import numpy as np

from mmsearch.encoders.sentences import sentences
from mmsearch.errors import UsageError
from mmsearch.retrieval import machine
from mmsearch.retrieval.scale import Question, kinds_of, scale_of
from mmsearch.retrieval.texts import Words
from mmsearch.retrieval.tune import BUDGET, IMAGE, TEXT, TRIALS, Corpus, Tuning, tune
from mmsearch.store import artifacts
from mmsearch.store.catalog import Catalog
from mmsearch.store.reader import TUNED, Reader, Space
from mmsearch.store.words import telling
from mmsearch.types import Embeddings, Encoder, FloatArray, IdArray, Modality, Mode

ROWS = 200_000
"""Most vectors that are measured: a larger library is sampled."""
QUESTIONS = 250
"""So many in words, and as many by picture: of 2,500 nearest, 1 % is 25."""
LEAST = 200
"""With fewer vectors there is nothing to tune."""
SMALL = 10_000 * 512
"""So many numbers are scanned in a few milliseconds; to load FAISS takes a cold query 90."""


def tune_library(
    reader: Reader,
    space: Space,
    encoder: Encoder,
    *,
    mode: Mode = "hybrid",
    target: float = 0.99,
    k: int = 10,
    budget: float = BUDGET,
    rows: int = ROWS,
    questions: int = QUESTIONS,
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
) -> Tuning:
    """Measure how a space is best indexed. Raises ``UsageError`` for a space with hardly any vectors.

    Of a small one only the exact search is measured. ``progress`` hears what is going on.

    Questions by picture are stored vectors that are left out of what is searched; those in words are captions, else
    chunks of text, else sentences of our own. ``mode``: as a question is asked, hybrid or dense.
    """
    total = reader.count(space.id)
    if mode == "lexical":
        raise UsageError("a search by the letter asks no vector index: tune with --mode hybrid or dense")
    if total < LEAST:
        raise UsageError(f"{total} vectors are too few to tune for ({LEAST} are needed): they are searched exactly")
    rng = np.random.default_rng(seed)
    sample = _sample(reader, space, rows, rng)
    held_out = rng.permutation(len(sample)) < min(questions, len(sample) // 5)
    asking = {IMAGE: sample.vectors[held_out]}
    texts, source = _texts(reader, questions, rng)
    if Modality.TEXT in encoder.spec.modalities:
        progress(f"{len(texts)} texts encoded")
        vectors = Words(encoder).asked(texts)
        if mode == "hybrid":
            vectors = _aimed(reader, space, encoder, texts, vectors)
        asking = {TEXT: vectors, **asking}
    else:
        source = f"none: {space.model} reads no words"
    searched = Embeddings(sample.ids[~held_out], sample.vectors[~held_out])
    corpus = Corpus(searched, asking, partial(reader.vectors, space.id, space.dim))
    small = total * space.dim <= SMALL
    trials = TRIALS[:1] if small else TRIALS
    tuning = tune(corpus, target=target, k=k, budget=budget, seed=seed, trials=trials, progress=progress)
    if small:
        tuning.skipped.append(f"all other kinds: FAISS takes longer to load than {total} vectors to be scanned")
    facts = {
        "model": space.model,
        "space": space.fingerprint,
        "vectors": total,
        "text questions": source,
        "mode": mode,
        "peak memory MB": machine.peak_mb(),
        "versions": machine.versions(),
    }
    return replace(tuning, facts=facts)


def _aimed(reader: Reader, space: Space, encoder: Encoder, texts: list[str], vectors: FloatArray) -> FloatArray:
    """What a hybrid search asks the index instead of the vectors of texts, for the first kind of media that is held."""
    scale, kind = scale_of(reader, space, lambda: encoder), kinds_of(reader, space)[0]
    asked = (Question(vector, len(telling(text)) or None) for text, vector in zip(texts, vectors, strict=True))
    return np.stack([scale.aim(question, kind).vector for question in asked])


def keep(catalog: Catalog, space: Space, tuning: Tuning, device: str = "cpu") -> None:
    """Write what was chosen to the library, and build the index anew if it is another one."""
    rows = catalog.reader.count(space.id)
    chosen = {"setting": asdict(tuning.chosen.setting), "rows": rows, "target": tuning.target, "k": tuning.k}
    catalog.set(f"{TUNED}{space.id}", json.dumps(chosen))
    artifacts.refresh(catalog, space, "auto", device)


def _sample(reader: Reader, space: Space, rows: int, rng: np.random.Generator) -> Embeddings:
    """At most about ``rows`` vectors, drawn from all."""
    share = rows / max(reader.count(space.id), 1)
    ids, vectors = list[IdArray](), list[FloatArray]()
    for block in reader.blocks(space.id, space.dim):
        some = rng.random(len(block)) < share
        ids.append(block.ids[some])
        vectors.append(block.vectors[some])
    return Embeddings(np.concatenate(ids), np.concatenate(vectors))


def _texts(reader: Reader, count: int, rng: np.random.Generator) -> tuple[list[str], str]:
    """Questions in words, and where they come from: the first source that has enough, else all together."""
    texts, sources = list[str](), list[str]()
    for name, found in (
        ("captions", (str(row[0]) for row in reader.query(_CAPTIONS))),
        ("text of the files", (" ".join(str(row[0]).split()[:12]) for row in reader.query(_CHUNKS))),
        ("sentences of our own", sentences()),
    ):
        new = sorted({text for text in found if text} - set(texts))
        some = [new[i] for i in rng.permutation(len(new))[: count - len(texts)]]
        if some:
            texts, sources = texts + some, [*sources, f"{len(some)} {name}"]
    return texts, ", ".join(sources)


_CAPTIONS = "SELECT DISTINCT caption FROM item WHERE caption IS NOT NULL AND gone IS NULL LIMIT 100000"
_CHUNKS = "SELECT text FROM segment WHERE text IS NOT NULL LIMIT 100000"
