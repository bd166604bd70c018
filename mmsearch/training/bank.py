"""The bank that is shipped with `mini`: its words, and where photos and sounds of the training data lie.

python -m mmsearch.training.bank [FOLDER]      writes FOLDER/bank (the package's own model by default)
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from mmsearch.encoders import bank, mini
from mmsearch.encoders.bank import Bank, Level
from mmsearch.media.files import read
from mmsearch.media.sandbox import shared
from mmsearch.training import data
from mmsearch.types import Encoder, FloatArray, Modality

PHOTOS = 1000
AT_ONCE = 32


def write(encoder: Encoder, folder: Path) -> None:
    """Measure and write; photos of train and sounds alone, as nothing else may be learned from."""
    made = bank.make(encoder)
    captioned = data.flickr8k("train")
    photos = [photo.path for photo in captioned[:: max(1, len(captioned) // PHOTOS)]]
    sounds = sorted((data.data_folder() / "esc10").rglob("*.ogg"))
    own = dict(made.own)
    for modality, paths in ((Modality.IMAGE, photos), (Modality.AUDIO, sounds)):
        vectors = _vectors(encoder, paths, modality)
        own[modality] = Level(vectors.mean(axis=0), made.spread(vectors))
        print(modality, len(vectors), round(own[modality].spread, 4))
    (folder / mini.BANK).write_bytes(Bank(made.words, own).to_bytes())


def _vectors(encoder: Encoder, paths: list[Path], modality: Modality) -> FloatArray:
    found = [piece.content for path in paths for piece in shared()(read(os.fsencode(path)), encoder.spec)]
    return np.concatenate([encoder.encode(found[i : i + AT_ONCE], modality) for i in range(0, len(found), AT_ONCE)])


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(mini.__file__).parent
    write(mini.load(folder=str(place)), place)
