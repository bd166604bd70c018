"""Does a confidence tell what is there from what is not? Asked with 200 captions of photos, and 200 of what is absent.

    python -m bench.confidence [--model mini] [--photos N]

The library is Flickr8k's val photos ($MMSEARCH_DATA/flickr8k); present are the first captions of every fifth photo,
absent is `absent.txt`: no caption of val names those things. The row has the area under the ROC curve of the best
hit's confidence and of its raw score, and the constants of `retrieval.confidence` that would fit this model best.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench.common import row
from mmsearch import Library
from mmsearch.indexer.ingest import Options
from mmsearch.retrieval import confidence

DATA = Path(os.environ.get("MMSEARCH_DATA", Path(__file__).parents[2] / "shared" / "data")) / "flickr8k"
COUNT = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--photos", type=int, default=1000)
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"no data folder at {DATA}: set MMSEARCH_DATA")
    photos = [json.loads(line) for line in (DATA / "val.jsonl").read_text().splitlines()][: arguments.photos]
    present = [photo["en"][0] for photo in photos[:: len(photos) // COUNT]][:COUNT]
    absent = (Path(__file__).parent / "absent.txt").read_text().splitlines()
    with tempfile.TemporaryDirectory() as scratch, Library(f"{scratch}/library") as library:
        os.mkdir(f"{scratch}/photos")
        for photo in photos:
            os.symlink(DATA / "images" / photo["image"], f"{scratch}/photos/{photo['image']}")
        options = Options(follow_links=True)
        library.index([f"{scratch}/photos"], model=arguments.model, options=options)
        there, missing = ([library.search(text, k=1).hits[0] for text in texts] for texts in (present, absent))
    sure = [np.array([hit.confidence for hit in hits]) for hits in (there, missing)]
    raw = [np.array([hit.score for hit in hits]) for hits in (there, missing)]
    even, step = fitted(*[excess(values) for values in sure])
    row(
        "confidence",
        f"{arguments.model}, {len(photos)} photos, {len(there)} present, {len(missing)} absent",
        auc=round(auc(*sure), 4),
        auc_raw_score=round(auc(*raw), 4),
        present_above_half=round(float((sure[0] > 0.5).mean()), 3),
        absent_above_half=round(float((sure[1] > 0.5).mean()), 3),
        fitted={"EVEN": round(even, 2), "STEP": round(step, 2)},
    )


def auc(present: np.ndarray, absent: np.ndarray) -> float:
    """How often a present one beats an absent one, ties counted half: the area under the ROC curve."""
    return float((present[:, None] > absent).mean() + (present[:, None] == absent).mean() / 2)


def excess(sure: np.ndarray) -> np.ndarray:
    """The excess behind a confidence."""
    return confidence.EVEN + confidence.STEP * np.log(sure / (1 - sure))


def fitted(present: np.ndarray, absent: np.ndarray) -> tuple[float, float]:
    """Logistic regression by Newton's method: where a hit is as likely there as not, and how fast that changes."""
    x = np.concatenate([present, absent])
    x, y = np.stack([x, np.ones_like(x)], 1), np.repeat([1.0, 0.0], [len(present), len(absent)])
    weights = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ weights))
        curvature = x.T @ (x * (p * (1 - p))[:, None]) + 1e-9 * np.eye(2)
        weights -= np.linalg.solve(curvature, x.T @ (p - y))
    return float(-weights[1] / weights[0]), float(1 / weights[0])


if __name__ == "__main__":
    main()
