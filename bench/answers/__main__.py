"""How good are the answers of the default question, where users look? One JSON line for each kind and mode.

    python -m bench.answers [--part constants|test] [--again] [--quick] [--keep DIR] [--check]

A library of photos in named folders, sounds, texts, captions beside some, made of $MMSEARCH_DATA (or ../shared/data).
Each kind of question is asked through `Library.search`; ``cosine`` is the nearest vector, ranked by this bench, which
no change of the product moves. Percent, with the ends of 95 % intervals; ``over cosine`` is the paired difference.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: its threads spin beside other work

from bench.answers import make, rank
from bench.answers.ask import MODES, Asker
from bench.answers.data import DATA, PARTS
from bench.answers.libraries import library_a


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, default="constants")
    parser.add_argument("--again", action="store_true", help="other folders, files and questions")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--quick", action="store_true", help="a quarter of the photos")
    parser.add_argument("--keep", type=Path, help="a folder that keeps the libraries for the next run")
    arguments = parser.parse_args()
    if not (DATA / "flickr8k").is_dir():
        sys.exit(f"no data folder at {DATA}: set MMSEARCH_DATA")
    recipe = make.AGAIN if arguments.again else make.FIRST
    with nullcontext(arguments.keep) if arguments.keep else tempfile.TemporaryDirectory() as keep:
        files = make.planned(recipe, small=arguments.quick)
        name = "quick" if arguments.quick else "a"
        made = library_a(Path(keep), recipe, files, arguments.model, name)
        askers = {arrangement: Asker(*folders) for arrangement, folders in made.items()}
        rank.of_library(files, recipe, askers, arguments.part, arguments.modes)


if __name__ == "__main__":
    main()
