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
from bench.answers.rank import Results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, default="constants")
    parser.add_argument("--again", action="store_true", help="other folders, files and questions")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=["hybrid", "dense"])
    parser.add_argument("--only", nargs="+", choices=GROUPS, help="these groups of rows")
    parser.add_argument("--notes", type=int, default=5000, help="notes that describe scenes, beside the library")
    parser.add_argument("--beside", type=int, default=26_000, help="more photos beside those asked for confidence")
    parser.add_argument("--draws", type=int, default=8, help="of captioned photos, for each share of them")
    parser.add_argument("--quick", action="store_true", help="a quarter of the photos, 40 questions of a kind")
    parser.add_argument("--keep", type=Path, help="a folder that keeps the libraries for the next run")
    parser.add_argument("--check", action="store_true", help="exit 1, naming what falls short of its floor")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.notes = min(arguments.notes, 500)
    if not (DATA / "flickr8k").is_dir():
        sys.exit(f"no data folder at {DATA}: set MMSEARCH_DATA")
    groups = arguments.only or (QUICK if arguments.quick else list(GROUPS))
    results: Results = {}
    with nullcontext(arguments.keep) if arguments.keep else tempfile.TemporaryDirectory() as keep:
        run = Run(arguments, Path(keep).absolute())
        for group in groups:
            results |= GROUPS[group](run)
    if arguments.check and (lines := floors.below(results)):
        sys.exit("below their floors:\n" + "\n".join(lines))


class Run:
    """What was asked for, and library A of it."""

    def __init__(self, arguments: argparse.Namespace, keep: Path) -> None:
        self.asked, self.keep, self.small = arguments, keep, arguments.quick
        self.part, self.model, self.modes = arguments.part, arguments.model, arguments.modes
        self.recipe = make.AGAIN if arguments.again else make.FIRST
        self.name = "quick" if self.small else "a"
        self.files = make.planned(self.recipe, small=self.small)
        most = FEW if self.small else None
        self.places = {one: Place(self.files, self.recipe, one, most) for one in make.ARRANGEMENTS}

    def library_a(self, model: str = "") -> dict[str, tuple[Path, Path]]:
        return library_a(self.keep, self.recipe, self.files, model or self.model, self.name)

    def photos_alone(self) -> tuple[Path, Path]:
        return sure.library_c(self.keep, self.recipe, self.model, self.name, self.small)


def ranks(run: Run) -> Results:
    askers = {arrangement: Asker(*folders) for arrangement, folders in run.library_a().items()}
    return rank.of_library(run.places, askers, run.part, run.modes)


def texts(run: Run) -> Results:
    place, tree = run.places["number"], run.library_a()["number"][1]
    of_a, count = (run.keep, run.recipe, run.files, run.model, run.name), run.asked.notes
    tiny, (noted, notes) = with_tiny_texts(*of_a), with_notes(*of_a, count)
    results = rank.wrong_text_first(place, run.part, Asker(tiny, tree), run.modes, ", five tiny texts")
    return results | rank.wrong_text_first(place, run.part, Asker(noted, tree), run.modes, f", {count} notes", notes)


def captioned(run: Run) -> Results:
    many, few = run.asked.draws, max(1, run.asked.draws // 2)
    modes = [mode for mode in run.modes if mode != "dense"]  # captions are no part of it
    return draws.rows(run.keep, run.recipe, run.model, run.part, modes, {30: many, 100: many, 10: few, 0: few})


def confidence(run: Run) -> Results:
    asked, alone = sure.Asked(run.recipe, run.part, run.small), Asker(*run.photos_alone())
    results = sure.rows(asked, run.part, "hybrid", alone)
    return results | sure.rows_of_a(run.places["number"], run.part, "hybrid", Asker(*run.library_a()["number"]))


def beside(run: Run) -> Results:
    """Asked of the libraries as they are too, that there is something to compare with."""
    results: Results = {}
    places = {
        ", photos alone": ("photos", sure.Absent(run.part), *run.photos_alone()),
        "": (run.name, sure.Absent(run.part, run.files), *run.library_a()["number"]),
    }
    for where, (name, absent, library, tree) in places.items():
        more = sure.beside(run.keep, run.recipe, run.model, name, library, run.asked.beside)
        for folder, beside in ((library, ""), (more, f" beside {run.asked.beside} more")):
            results |= sure.absent_rows(absent, run.part, "hybrid", Asker(folder, tree), where + beside)
    return results


def narrow(run: Run) -> Results:
    return rank.narrow(run.places["number"], Asker(*run.library_a(NARROW)["number"]), run.part)


GROUPS = {
    "rank": ranks, "draws": captioned, "texts": texts, "sure": confidence, "beside": beside, "narrow": narrow,
}  # fmt: skip
QUICK = ("rank", "texts", "sure")
FEW = 40
"""Questions of a kind in a quick run."""


if __name__ == "__main__":
    main()
