"""Write a sample folder: pictures in the public domain that scikit-image's wheel carries, and sounds of our own making.

    python data/make_samples.py ./media

Nothing is downloaded, and scikit-image is not imported: its files are found and copied.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import make_sounds
from PIL import Image

PICTURES = {
    "astronaut.png": "astronaut.jpg",
    "brick.png": "bricks.jpg",
    "camera.png": "photographer.jpg",
    "cell.png": "cell.png",
    "chelsea.png": "cat.jpg",
    "clock_motion.png": "clock.jpg",
    "coffee.png": "coffee.jpg",
    "coins.png": "coins.jpg",
    "grass.png": "grass.jpg",
    "gravel.png": "gravel.jpg",
    "horse.png": "horse.png",
    "hubble_deep_field.jpg": "galaxies.jpg",
    "retina.jpg": "retina.jpg",
    "rocket.jpg": "rocket.jpg",
    "text.png": "handwriting.png",
}
"""Name in scikit-image: name here. Each is CC0 or in the public domain (docstrings of `skimage.data`)."""


def main(folder: Path) -> None:
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        sys.exit("scikit-image is not here: pip install --no-deps --target build/samples scikit-image")
    source = Path(spec.origin).parent / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for name, ours in PICTURES.items():
        with Image.open(source / name) as picture:
            picture.convert("RGB").save(folder / ours)
    print(f"{len(PICTURES)} pictures in {folder}")
    make_sounds.main(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "media"))
