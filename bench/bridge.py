"""A bridge measured on ESC-10: photos and words by `mini`, sounds by another model, joined by words alone.

The other model is made of two public ones that never met `mini`'s audio tower: YAMNet names what it hears among 521
labels, all-MiniLM-L6-v2 reads the labels, and a sound's vector is the mean of the labels' by YAMNet's probabilities.
Words are read by MiniLM. (`mini`'s text tower was once distilled from MiniLM: two towers that share nothing would be
harder to join.) Needs the extra `train` and the shared data.
"""

from __future__ import annotations

import time

import numpy as np

from bench.common import row
from mmsearch.encoders import mini
from mmsearch.encoders.bridge import unit
from mmsearch.encoders.sentences import sentences
from mmsearch.retrieval.bridge import fit
from mmsearch.types import EncoderSpec, Modality

DOG_CLASSES = range(151, 269)


class Labels:
    """YAMNet's labels as MiniLM reads them: sounds and words in one space of 384 dimensions."""

    def __init__(self):
        from mmsearch.training import data, minilm

        self.spec = EncoderSpec(
            name="labels",
            space="labels",
            dim=384,
            modalities=frozenset({Modality.AUDIO, Modality.TEXT}),
            licence="Apache-2.0",
            audio_rate=16_000,
        )
        self._read = minilm.teacher_vectors
        self._labels = self.encode(
            [f"the sound of {names[0].lower()}" for names in data.audioset_names()], Modality.TEXT
        )

    def encode(self, batch, modality):
        return self._read(list(batch)).astype(np.float32) if modality is Modality.TEXT else self.hear(batch)

    def hear(self, clips):
        import torch

        from mmsearch.encoders.mini.audio import patches
        from mmsearch.training.sounds import audio_teacher
        from mmsearch.training.towers import YamNet, pool

        layers = audio_teacher()
        trunk, last = YamNet(layers).eval(), layers[-1]
        with torch.no_grad():
            inputs = (torch.from_numpy(patches(samples)) for samples in clips)
            features = np.stack([pool(trunk(clip), clip)[0].numpy() for clip in inputs])
        scores = features @ last.weight.T + last.bias
        chance = np.exp(scores - scores.max(axis=1, keepdims=True))
        return unit((chance / chance.sum(axis=1, keepdims=True) @ self._labels).astype(np.float32))


def main() -> None:
    from mmsearch.training import data, measure

    seer, hearer = mini.load(), Labels()
    clips = data.esc10()
    names = sorted({name for _, name, _ in clips})
    owner = np.array([names.index(name) for _, name, _ in clips])
    heard = hearer.encode([data.read_sound(path) for path, _, _ in clips], Modality.AUDIO)
    labelled = data.imagenet_photos()
    photos = measure.encode_photos(seer, [path for path, _ in labelled])
    queries = [f"the sound of {name.lower()}" for name in names]
    spoken = {"esc10": queries, "photo": [f"a photo of a {data.imagenet_names()[label][0]}" for _, label in labelled]}
    words = {kind: seer.encode(texts, Modality.TEXT) for kind, texts in spoken.items()}
    row("bridge", "its own words", **_sounds(heard, hearer.encode(queries, Modality.TEXT), owner))
    for case, texts in _texts(names).items():
        started = time.perf_counter()
        bridge, quality = fit(seer, hearer, texts, photos)
        seconds = time.perf_counter() - started
        carried = bridge.carry(heard)
        figures = _sounds(carried, words["esc10"], owner) | _beside(carried, photos, words["photo"])
        row(
            "bridge", case, sentences=len(texts), ridge=quality.ridge, hit1=round(quality.hit1, 3),
            seconds=round(seconds, 1), **figures, **_seen(carried, photos, labelled, owner, names),
        )  # fmt: skip


def _texts(names):
    """Our sentences; the same without any that has a word of a class name; those and captions of photos."""
    from mmsearch.training import data

    own = sentences()
    told = {word for name in names for word in name.lower().split()}
    unseen = [text for text in own if not told & set(text.replace("ing", "").split()) and not told & set(text.split())]
    captions = data.coco_text()
    some = [captions[i] for i in np.random.default_rng(0).permutation(len(captions))[:3000]]
    return {"own sentences": own, "own, none of the classes' words": unseen, "own and COCO captions": own + some}


def _sounds(vectors, texts, owner):
    """Percent of clips whose class name is nearest, and precision@10 of the classes' names among the clips."""
    scores = vectors @ texts.T
    first = np.argsort(-scores.T, axis=1)[:, :10]
    precision = np.mean([(owner[rows] == c).mean() for c, rows in enumerate(first)])
    return {
        "class": round(100 * float((scores.argmax(1) == owner).mean()), 1),
        "t2s_p10": round(100 * float(precision), 1),
    }


def _beside(vectors, photos, texts):
    """hit@5 of photos by their names, alone and with all sounds beside them: do sounds push photos out?"""
    figures = {}
    for case, pool in (("photos_hit5", photos), ("photos_and_sounds_hit5", np.concatenate([photos, vectors]))):
        first = np.argsort(-(texts @ pool.T), axis=1)[:, :5]
        figures[case] = round(100 * float((first == np.arange(len(photos))[:, None]).any(1).mean()), 1)
    return figures


def _seen(vectors, photos, labelled, owner, names):
    """Barks to photos of dogs (precision@5), roosters to the photo of one (hit@10)."""
    nearest = np.argsort(-(vectors @ photos.T), axis=1)
    dogs = np.array([label in DOG_CLASSES for _, label in labelled])
    cock = np.array([path.stem.endswith("_cock") for path, _ in labelled])
    barks, roosters = (nearest[owner == names.index(name)] for name in ("Dog bark", "Rooster"))
    return {
        "dogs_chance": round(100 * float(dogs.mean()), 1),
        "bark_to_dog_p5": round(100 * float(dogs[barks[:, :5]].mean()), 1),
        "rooster_to_cock_hit10": round(100 * float(cock[roosters[:, :10]].any(1).mean()), 1),
    }


if __name__ == "__main__":
    main()
