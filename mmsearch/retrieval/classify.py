"""Which of some labels fits a file best: zero-shot, each label by the mean vector of several sentences about it.

Averaging over templates is CLIP's prompt ensembling (Radford et al. 2021, section 3.1.4).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mmsearch.errors import UsageError
from mmsearch.retrieval.embed import file_vector, unit
from mmsearch.types import Encoder, FloatArray, Modality

TEMPLATES = (
    "{}",
    "a photo of a {}",
    "a close-up photo of a {}",
    "a picture with a {} in it",
    "this is a {}",
    "the sound of a {}",
)


class Label(NamedTuple):
    """A label and the cosine similarity between a file and the label's sentences."""

    name: str
    score: float


def read_labels(source: str) -> list[str]:
    """Labels separated by commas, or a file with one a line. Raises ``UsageError`` for fewer than two."""
    text = source
    if os.path.isfile(source):
        with open(source, encoding="utf-8") as file:
            text = file.read().replace("\n", ",")
    labels = list(dict.fromkeys(label.strip() for label in text.split(",") if label.strip()))
    if len(labels) < 2:
        raise UsageError(f"{source}: at least two labels, separated by commas, or a file with one a line")
    return labels


class Classified(NamedTuple):
    """The labels of each file, best first, and the files that could not be read with the reason."""

    labels: list[tuple[str, list[Label]]]
    failures: list[tuple[str, str]]


def classify(
    encoder: Encoder, labels: Sequence[str], paths: Sequence[str], k: int, templates: Sequence[str] = TEMPLATES
) -> Classified:
    """The ``k`` best labels of each file at or below the paths."""
    rows = label_vectors(encoder, labels, templates)
    done = Classified([], [])
    for path in files_below(paths):
        try:
            done.labels.append((path, best(file_vector(encoder, path), labels, rows, k)))
        except UsageError as error:
            done.failures.append((path, str(error)))
    return done


def label_vectors(encoder: Encoder, labels: Sequence[str], templates: Sequence[str] = TEMPLATES) -> FloatArray:
    """Unit rows float32 ``(len(labels), dim)``."""
    rows = [
        unit(encoder.encode([template.format(label) for template in templates], Modality.TEXT).mean(axis=0))
        for label in labels
    ]
    return np.stack(rows)


def best(vector: FloatArray, labels: Sequence[str], rows: FloatArray, k: int) -> list[Label]:
    """The ``k`` labels that fit a unit vector float32 ``(dim,)`` best, best first."""
    scores = rows @ vector
    order = np.argsort(-scores, kind="stable")[:k]
    return [Label(labels[i], float(scores[i])) for i in order.tolist()]


def files_below(paths: Sequence[str]) -> Iterator[str]:
    """The files named, and those in the folders named, by name; hidden ones only if named."""
    for path in paths:
        if os.path.isdir(path):
            for folder, folders, names in os.walk(path):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                yield from (os.path.join(folder, name) for name in sorted(names) if not name.startswith("."))
        else:
            yield path
