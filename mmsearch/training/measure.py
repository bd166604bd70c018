"""Measure a model through the public ``Encoder`` protocol: the figures beside their bars.

``hit@k`` is the share of queries with a right answer among the first ``k`` (what CLIP papers print as R@k). None of
the data measured here is trained on; ESC-10 is measured on folds that the tower at hand has not heard.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from mmsearch.media.files import read
from mmsearch.media.sandbox import decode
from mmsearch.retrieval.metrics import exact_ranks
from mmsearch.training import data
from mmsearch.training.prompts import PHOTO_PROMPTS, SOUND_PROMPTS
from mmsearch.types import Encoder, EncoderSpec, FloatArray, ImageInput, Modality, Pixels

Fit = Literal["crop", "squash", "pad"]

BARS = {
    "t2i@1": 24, "t2i@5": 53, "t2i@10": 66,
    "i2t@1": 31, "i2t@5": 59, "i2t@10": 71,
    "zh t2i@10": 50, "label top-1": 55, "label top-5": 80, "coco t2i@10": 85,
    "esc10 class": 92, "esc10 t2s precision@10": 95,
    "bark to dog precision@5": 60, "rooster to cock@10": 50, "synonyms top-5": 70,
    "photos/s": 120, "text ms": 3, "5 s of sound, ms": 30,
}  # fmt: skip


_ROLES = [("a dog", "a man"), ("a boy", "a horse"), ("a child", "a woman"), ("a cat", "a bird")]
_VERBS = ["chases", "looks at", "stands behind", "follows", "jumps over", "carries"]
_DOGS = range(151, 269)
"""ImageNet's breeds of dogs, by class number."""


def hit_at(similarity: FloatArray, right: npt.NDArray[np.bool_], ks: Sequence[int] = (1, 5, 10)) -> list[float]:
    """Percent of queries (rows) with a right column in their first ``k``. Ties count against the model."""
    ranks = exact_ranks(similarity, *np.nonzero(right))
    return [100 * float((ranks <= k).mean()) for k in ks]


def read_photo(path: Path, want: ImageInput) -> Pixels:
    """The photo as a real index run would decode it: uint8 ``(size, size, 3)``."""
    kinds = frozenset({Modality.IMAGE})
    spec = EncoderSpec(name="photos", space="", dim=0, modalities=kinds, licence="", image=want)
    return cast(Pixels, decode(read(os.fsencode(path)), spec).pieces[0].content)


def retrieval(encoder: Encoder, photos: list[data.Captioned], fit: Fit | None = None) -> dict[str, float]:
    """hit@1/5/10 both ways in English and text to image in Chinese."""
    images = encode_photos(encoder, [photo.path for photo in photos], fit)
    figures = {}
    for prefix, captions in (("", [p.en for p in photos]), ("zh ", [p.zh for p in photos])):
        owner = np.array([i for i, group in enumerate(captions) for _ in group])
        if not len(owner):
            continue
        texts = encoder.encode([text for group in captions for text in group], Modality.TEXT)
        right = owner[:, None] == np.arange(len(photos))
        for k, value in zip((1, 5, 10), hit_at(texts @ images.T, right), strict=True):
            figures[f"{prefix}t2i@{k}"] = value
        for k, value in zip((1, 5, 10), hit_at(images @ texts.T, right.T), strict=True):
            figures[f"{prefix}i2t@{k}"] = value
    return figures


def encode_photos(encoder: Encoder, paths: list[Path], fit: Fit | None = None) -> FloatArray:
    """Unit rows of photos; ``fit`` overrides the encoder's own, for comparison."""
    want = encoder.spec.image
    assert want is not None
    want = replace(want, fit=fit or want.fit)
    parts = [
        encoder.encode([read_photo(path, want) for path in paths[i : i + 64]], Modality.IMAGE)
        for i in range(0, len(paths), 64)
    ]
    return np.concatenate(parts)


def labels(encoder: Encoder, fit: Fit | None = None) -> dict[str, float]:
    """200 photos among 1,000 ImageNet names. The names were trained on: label-distilled, not zero-shot."""
    names = [PHOTO_PROMPTS[0].format(group[0]) for group in data.imagenet_names()]
    texts = encoder.encode(names, Modality.TEXT)
    paths, wanted = zip(*data.imagenet_photos(), strict=True)
    right = np.array(wanted)[:, None] == np.arange(len(names))
    top1, top5 = hit_at(encode_photos(encoder, list(paths), fit) @ texts.T, right, (1, 5))
    return {"label top-1": top1, "label top-5": top5}


def sounds(encoder: Encoder, vectors: FloatArray) -> dict[str, float]:
    """ESC-10: class by name, text to sound, and sound to the ImageNet photos.

    ``vectors`` are those of all clips in the order of ``data.esc10``, each by a tower that never heard its fold; the
    encoder supplies words and photos.
    """
    clips = data.esc10()
    classes = sorted({name for _, name, _ in clips})
    owner = np.array([classes.index(name) for _, name, _ in clips])
    texts = encoder.encode([SOUND_PROMPTS[0].format(name.lower()) for name in classes], Modality.TEXT)
    similarity = vectors @ texts.T
    first = np.argsort(-similarity.T, axis=1)[:, :10]
    precision = np.mean([(owner[rows] == c).mean() for c, rows in enumerate(first)])
    labelled = data.imagenet_photos()
    nearest = np.argsort(-(vectors @ encode_photos(encoder, [path for path, _ in labelled]).T), axis=1)
    dogs = np.array([label in _DOGS for _, label in labelled])
    cock = np.array([path.stem.endswith("_cock") for path, _ in labelled])
    barks, roosters = (nearest[owner == classes.index(name)] for name in ("Dog bark", "Rooster"))
    return {
        "esc10 class": 100 * float((similarity.argmax(1) == owner).mean()),
        "esc10 t2s precision@10": 100 * float(precision),
        "bark to dog precision@5": 100 * float(dogs[barks[:, :5]].mean()),
        "rooster to cock@10": 100 * float(cock[roosters[:, :10]].any(1).mean()),
    }


def synonyms(encoder: Encoder) -> dict[str, float]:
    """100 pairs: the share whose second word is among the five nearest of 2,000 nouns to the first."""
    pairs, nouns = data.synonyms()
    vocabulary = sorted({*nouns, *(b for _, b in pairs)})
    prompt = PHOTO_PROMPTS[0]
    pool = encoder.encode([prompt.format(noun) for noun in vocabulary], Modality.TEXT)
    queries = encoder.encode([prompt.format(a) for a, _ in pairs], Modality.TEXT)
    similarity = queries @ pool.T
    for row, (a, _) in enumerate(pairs):
        if a in vocabulary:
            similarity[row, vocabulary.index(a)] = -1  # a word is not its own synonym
    right = np.array([[noun == b for noun in vocabulary] for _, b in pairs])
    return {"synonyms top-5": hit_at(similarity, right, (5,))[0]}


def word_order(encoder: Encoder) -> dict[str, float]:
    """What the text tower has over a bag of words, on val's photos.

    Every caption against itself with its words shuffled: how often the photo is nearer to the true one (a bag of
    words: 50, ties counted half). And 24 sentences with their roles swapped: the mean cosine (a bag of words: 1).
    """
    rng = np.random.default_rng(0)
    photos = data.flickr8k("val")[:300]
    images = encode_photos(encoder, [photo.path for photo in photos])
    true = [photo.en[0] for photo in photos]
    shuffled = [" ".join(rng.permutation(text.split())) for text in true]
    right, wrong = ((encoder.encode(texts, Modality.TEXT) * images).sum(1) for texts in (true, shuffled))
    wins = (right > wrong).mean() + 0.5 * (right == wrong).mean()
    pairs = [(a, verb, b) for a, b in _ROLES for verb in _VERBS]
    one = encoder.encode([f"{a} {verb} {b}" for a, verb, b in pairs], Modality.TEXT)
    other = encoder.encode([f"{b} {verb} {a}" for a, verb, b in pairs], Modality.TEXT)
    return {
        "true order preferred": 100 * float(wins),
        "cosine of swapped roles": 100 * float((one * other).sum(1).mean()),
    }


def everything(encoder: Encoder, sound_vectors: FloatArray | None = None) -> dict[str, float]:
    """All figures by name, in percent; those of sounds need vectors (see ``sounds``)."""
    figures = retrieval(encoder, data.flickr8k("val")) | labels(encoder)
    figures["coco t2i@10"] = retrieval(encoder, data.coco_photos())["t2i@10"]
    figures |= synonyms(encoder) | word_order(encoder)
    if sound_vectors is not None:
        figures |= sounds(encoder, sound_vectors)
    return {name: round(value, 1) for name, value in figures.items()}


def speed(encoder: Encoder, rounds: int = 5) -> dict[str, float]:
    """Median of ``rounds``: photos/s with decoding, milliseconds for one query and for 5 s of sound, after loading.

    Only worth something on an idle machine.
    """
    paths = [photo.path for photo in data.flickr8k("val")[:200]]
    tone = np.sin(np.arange(80_000, dtype=np.float32))
    queries = [photo.en[0] for photo in data.flickr8k("val")[:50]]

    def photos() -> None:
        encode_photos(encoder, paths)

    def texts() -> None:
        for query in queries:
            encoder.encode([query], Modality.TEXT)

    def sound() -> None:
        encoder.encode([tone], Modality.AUDIO)

    figures = {
        "photos/s": len(paths) / _median(photos, rounds),
        "text ms": 1000 * _median(texts, rounds) / len(queries),
    }
    if Modality.AUDIO in encoder.spec.modalities:
        figures["5 s of sound, ms"] = 1000 * _median(sound, rounds)
    return {name: round(value, 1) for name, value in figures.items()}


def _median(work: Callable[[], None], rounds: int) -> float:
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:]))


def main() -> None:
    """Print the installed model's figures for photos and words beside their bars, one JSON line each."""
    from mmsearch.encoders import mini

    encoder = mini.load()
    for name, value in (everything(encoder) | speed(encoder)).items():
        print(json.dumps({"figure": name, "value": value, "bar": BARS.get(name)}))


if __name__ == "__main__":
    main()
