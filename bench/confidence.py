"""Fit and check what a hit's confidence says: is what is there told from what is not?

    python -m bench.confidence [--model mini] [--part constants|test] [--keep DIR]

Asks the library of photos of `bench.answers` (its ``sure`` rows) for nouns whose photos are known, for captions, and
for what no photo shows. The row has the area under the ROC curve by the model's constants, and the constants of
`retrieval.confidence` that fit this part best: a logistic regression on ``t`` and 1 / n of hits, right or wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from bench.answers import make, sure
from bench.answers.data import DATA, PARTS
from bench.answers.score import area
from bench.common import row
from mmsearch import Library
from mmsearch.retrieval.confidence import FITS, GUESS, Confidence
from mmsearch.retrieval.embed import questions
from mmsearch.retrieval.scale import scale_of
from mmsearch.types import Modality

HITS = 20
"""Hits of a noun that are taken as examples."""
Example = tuple[float, float, bool]
"""``t``, 1 / n, whether it is right."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--part", choices=PARTS, default="constants")
    parser.add_argument("--keep", type=Path, help="a folder that keeps the library for the next run")
    arguments = parser.parse_args()
    if not (DATA / "flickr8k").is_dir():
        sys.exit(f"no data folder at {DATA}: set MMSEARCH_DATA")
    with nullcontext(arguments.keep) if arguments.keep else tempfile.TemporaryDirectory() as keep:
        folder, tree = sure.library_c(Path(keep).absolute(), make.FIRST, arguments.model, "a", False)
        with Library(str(folder)) as library:
            groups = examples(library, os.fsencode(tree), sure.Asked(make.FIRST, arguments.part, False))
    fit = FITS.get(arguments.model, GUESS)
    every = [example for group in groups.values() for example in group]
    row(
        "confidence",
        f"{arguments.model}, {arguments.part}",
        examples={name: len(group) for name, group in groups.items()},
        auc={name: round(_area(group, fit), 4) for name, group in groups.items()},
        used=fit,
        fitted=[round(float(value), 3) for value in fitted(every)],
    )


def examples(library: Library, tree: bytes, asked: sure.Asked) -> dict[str, list[Example]]:
    """Hits that are right or wrong, of nouns, and of sentences, whose best hits stand for what is there or is not."""
    nouns = list(_hits(library, tree, asked.right, HITS)) + list(_best(library, asked.absent.nouns, False))
    sentences = [*_best(library, asked.sentences, True), *_best(library, asked.absent.sentences, False)]
    return {"nouns": nouns, "sentences": sentences}


def _hits(library: Library, tree: bytes, right: dict[str, frozenset[str]], count: int) -> Iterator[Example]:
    for noun, paths in right.items():
        for path, t, terseness in _asked(library, noun, count):
            yield t, terseness, os.fsdecode(os.path.relpath(path, tree)) in paths


def _best(library: Library, texts: Iterable[str], there: bool) -> Iterator[Example]:
    for text in texts:
        for _, t, terseness in _asked(library, text, 1):
            yield t, terseness, there


def _asked(library: Library, text: str, count: int) -> Iterator[tuple[bytes, float, float]]:
    """The paths of hits, each with its ``t`` and the question's 1 / n."""
    space, reader = library.active_space(), library.reader
    encoder = library.encoder(space.model)
    confidence = Confidence(scale_of(reader, space, lambda: encoder), space.model)
    (question,) = questions(encoder, [text])
    hits = library.search(text, k=count).hits
    for hit in hits:
        vectors = reader.vectors(space.id, space.dim, [hit.segment_id]).vectors
        yield hit.path, float(confidence.stands_out(question, Modality.IMAGE, vectors)[0]), question.terseness


def _area(group: Sequence[Example], fit: Sequence[float]) -> float:
    logit = [(fit[0] * t + fit[1] * terse + fit[2], right) for t, terse, right in group]
    return area([value for value, right in logit if right], [value for value, right in logit if not right])


def fitted(examples: Sequence[Example]) -> np.ndarray:
    """Logistic regression by Newton's method: slope of ``t``, of 1 / n, and start."""
    table = np.array(examples, float)
    x, y = np.column_stack([table[:, :2], np.ones(len(table))]), table[:, 2]
    weights = np.zeros(3)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        curvature = x.T @ (x * (p * (1 - p))[:, None]) + 1e-6 * np.eye(3)
        weights -= np.linalg.solve(curvature, x.T @ (p - y))
    return weights


if __name__ == "__main__":
    main()
