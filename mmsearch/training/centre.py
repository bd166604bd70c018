"""What all sounds share, into the manifest: `python -m mmsearch.training.centre`, after the weights are written.

The audio tower learns words for sounds, never words for photos: its vectors lie together, nearer to any words than any
photo does, and a search over both would list all sounds first. Their mean over ESC-10 (length 0.7) taken away, sounds
and photos compete on equal terms: "Mind the Gap", Liang et al., NeurIPS 2022.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np

from mmsearch.encoders import mini
from mmsearch.training import data
from mmsearch.types import Modality


def main(folder: Path = Path(os.path.dirname(mini.__file__))) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    manifest["audio"].pop("centre", None)
    path.write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
    encoder = mini.load(folder=str(folder))
    clips = [data.read_sound(file) for file, _, _ in data.esc10()]
    centre = encoder.encode(clips, Modality.AUDIO).mean(axis=0)
    manifest["audio"]["centre"] = [round(float(value), 4) for value in centre]
    text = re.sub(r"\n\s+(?=-?\d)", " ", json.dumps(manifest, indent=2))  # the numbers on one line
    path.write_text(text + "\n", "utf-8")
    print(f"{path}: a centre of length {np.linalg.norm(centre):.2f}")


if __name__ == "__main__":
    main()
