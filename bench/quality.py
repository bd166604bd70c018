"""Hold `mini` to the figures of its model card: `mmsearch evaluate` on the shared photos; exits 1 below any of them.

    make bench-quality        or python -m bench.quality [--slack 0.5]

The card (mmsearch/encoders/mini/MODEL_CARD.md) is the only place where the figures stand. It measured vectors as the
model makes them; a library keeps them as float16, and close scores may fall otherwise: hence the slack, in percent.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from bench.common import row

REPOSITORY = Path(__file__).parent.parent
DATA = Path(os.environ.get("MMSEARCH_DATA", REPOSITORY.parent / "shared" / "data"))
CARD = REPOSITORY / "mmsearch" / "encoders" / "mini" / "MODEL_CARD.md"
SETS = {
    "": ["flickr8k/val.jsonl", "--images", "flickr8k/images", "--captions", "en"],
    "zh ": ["flickr8k/val.jsonl", "--images", "flickr8k/images", "--captions", "zh"],
    "coco ": ["coco/captions.jsonl", "--images", "coco/images"],
}
"""By the prefix of their names on the card."""
KEYS = {"t2i": "image_retrieval_recall", "i2t": "text_retrieval_recall"}


def card() -> dict[str, float]:
    """The measured figures, in percent, by name."""
    rows = re.findall(r"^\| ([^|]+) \| ([\d.]+) \|", CARD.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: float(value) for name, value in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slack", type=float, default=0.5)
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"no data folder at {DATA}: set MMSEARCH_DATA")
    wanted, below = card(), []
    for prefix, options in SETS.items():
        figures = evaluate(options)
        for short, key in KEYS.items():
            for k in (1, 5, 10):
                name, value = f"{prefix}{short}@{k}", 100 * figures[f"{key}@{k}"]
                if name in wanted:
                    row("quality", name, measured=round(value, 2), card=wanted[name])
                    if value < wanted[name] - arguments.slack:
                        below.append(name)
    if below:
        sys.exit(f"below the model card: {', '.join(below)}")


def evaluate(options: list[str]) -> dict[str, float]:
    paths = [str(DATA / option) if "/" in option else option for option in options]
    command = [sys.executable, "-m", "mmsearch", "evaluate", *paths, "--model", "mini", "--json", "--quiet"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    main()
