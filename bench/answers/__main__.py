"""How good are the answers of the default question, where users look? One JSON line for each kind and mode.

    python -m bench.answers [--part constants|test] [--again] [--quick] [--keep DIR] [--only GROUP ...] [--check]

A library of photos in named folders, sounds, texts, captions beside some, made of $MMSEARCH_DATA (or ../shared/data).
Each kind of question is asked through `Library.search`; ``cosine`` is the nearest vector, ranked by this bench, which
no change of the product moves. Percent, with the ends of 95 % intervals; ``over cosine`` is the paired difference.
``--part constants`` asks what constants may be chosen by, ``test`` what only counts.

Groups: ``rank`` (every kind of question), ``draws`` (part of the photos captioned), ``texts`` (tiny ones, 5,000 notes),
``sure`` (confidence), ``beside`` (confidence beside many more files), ``narrow`` (CLIP's narrow cosines).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: its threads spin beside other work

from bench.answers import draws, floors, make, rank, sure
from bench.answers.ask import MODES, Asker
from bench.answers.data import DATA, PARTS
from bench.answers.libraries import NARROW, library_a, with_notes, with_tiny_texts
from bench.answers.questions import Place

GROUPS = ("rank", "draws", "texts", "sure", "beside", "narrow")
QUICK = ("rank", "texts", "sure")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, default="constants")
    parser.add_argument("--again", action="store_true", help="other folders, files and questions")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=["hybrid", "dense"])
    parser.add_argument("--only", nargs="+", choices=GROUPS, help="these groups of rows")
    parser.add_argument("--notes", type=int, default=5000, help="notes that describe scenes, beside the library")
    parser.add_argument("--beside", type=int, default=26_000, help="more photos beside those asked for confidence")
    parser.add_argument("--draws", type=int, default=8, help="for each share of captioned photos")
    parser.add_argument("--quick", action="store_true", help="a quarter of the photos; without draws and many files")
    parser.add_argument("--keep", type=Path, help="a folder that keeps the libraries for the next run")
    parser.add_argument("--check", action="store_true", help="exit 1, naming what falls short of its floor")
    arguments = parser.parse_args()
    if not (DATA / "flickr8k").is_dir():
        sys.exit(f"no data folder at {DATA}: set MMSEARCH_DATA")
    with nullcontext(arguments.keep) if arguments.keep else tempfile.TemporaryDirectory() as keep:
        results = measure(arguments, Path(keep).absolute())
    if arguments.check and (lines := floors.below(results)):
        sys.exit("below their floors:\n" + "\n".join(lines))


def measure(arguments: argparse.Namespace, keep: Path) -> rank.Results:
    groups = arguments.only or (QUICK if arguments.quick else GROUPS)
    recipe, part, model, small = _recipe(arguments), arguments.part, arguments.model, arguments.quick
    name = "quick" if small else "a"
    files = make.planned(recipe, small=small)
    results: rank.Results = {}
    if "rank" in groups:
        made = library_a(keep, recipe, files, model, name)
        askers = {arrangement: Asker(*folders) for arrangement, folders in made.items()}
        results |= rank.of_library(files, recipe, askers, part, arguments.modes)
    if "texts" in groups:
        place, tree = Place(files, recipe, "number"), library_a(keep, recipe, files, model, name)["number"][1]
        asker = Asker(with_tiny_texts(keep, recipe, files, model, name), tree)
        results |= rank.wrong_text_first(place, part, asker, arguments.modes, ", five tiny texts")
        library, notes = with_notes(keep, recipe, files, model, name, arguments.notes)
        asker, where = Asker(library, tree), f", {arguments.notes} notes"
        results |= rank.wrong_text_first(place, part, asker, arguments.modes, where, notes)
    if "draws" in groups:
        counts = dict.fromkeys((30, 0, 10, 100), arguments.draws)
        results |= draws.rows(keep, recipe, model, part, arguments.modes, counts)
    if "sure" in groups or "beside" in groups:
        asked = {", photos alone": sure.Absent(part), "": sure.Absent(part, files)}
        places = {", photos alone": sure.library_c(keep, recipe, model, name, small)}
        places[""] = library_a(keep, recipe, files, model, name)["number"]
        results |= sure.rows(sure.Asked(recipe, part, small), part, "hybrid", Asker(*places[", photos alone"]))
        results |= sure.absent_rows(asked[""], part, "hybrid", Asker(*places[""]))
    if "beside" in groups:
        for where, (library, tree) in places.items():
            more = sure.beside(keep, recipe, model, f"{name}{where}", library, arguments.beside)
            more_files = f"{where} beside {arguments.beside} more"
            results |= sure.absent_rows(asked[where], part, "hybrid", Asker(more, tree), more_files)
    if "narrow" in groups and model != NARROW:
        made = library_a(keep, recipe, files, NARROW, name)
        results |= rank.narrow(files, recipe, Asker(*made["number"]), part)
    return results


def _recipe(arguments: argparse.Namespace) -> make.Recipe:
    return make.AGAIN if arguments.again else make.FIRST


if __name__ == "__main__":
    main()
