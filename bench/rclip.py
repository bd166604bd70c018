"""Beside rclip 3.3, the nearest tool: whole processes in turns, the same photos, the same architecture and weights.

    python -m bench.rclip [--rows index-500px index-12mp query-500 query-100k rerun] [--pairs 5] [--photos 500]

ViT-B-32-256 with random weights: speed does not depend on them. Everything is kept in `build/rclip`, and made if it is
not there: rclip in an environment of its own; the model as an open_clip folder and, from the same weights, as the two
ONNX files that rclip looks for in `$RCLIP_DATADIR` (where they lie there, it downloads nothing and checks nothing, so
it runs as it is); photos of 500 x 375 and 4000 x 3000 pixels, made from Flickr8k's of the shared data by enlarging with
noise (theirs are 224 pixels wide), or from soft shapes where the data is not there.

`wall`, `cpu` and `rss` are mmsearch divided by rclip, medians of pairs; RSS is the peak of the sum over the process and
its children, shared pages counted in each. rclip has no verb that only indexes: its runs end with a question, so
`with_query` sets `index` and `query` of mmsearch together beside it. `first use` is what a model costs once on a
machine: measuring the fastest way and keeping it.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing

import numpy as np
from PIL import Image

from bench.common import Usage, ratios, row, spread
from mmsearch.encoders import registry
from mmsearch.store import artifacts, roots
from mmsearch.store.catalog import Catalog, Record
from mmsearch.types import FileStat, Modality, State

RCLIP, ARCHITECTURE = "rclip==3.3.0", "ViT-B-32-256"
THEIR_MODEL = "ViT-B-32-256-datacomp_s34b_b86k"
REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DATA = os.environ.get("MMSEARCH_DATA", os.path.join(os.path.dirname(REPOSITORY), "shared", "data"))
QUESTION = "a cat on a sofa"
BARS = {
    "index-500px": {"files_s": 2.0, "rss": 0.6},
    "index-12mp": {"files_s": 3.5, "rss": 0.6},
    "query-500": {"wall": 0.30, "rss": 0.5},
    "query-100k": {"wall": 0.12, "rss": 0.3},
    "rerun": {"wall": 0.2},
}

LAUNCHER = '''
import os, sys, time
from contextlib import suppress

def read(pid, name):
    """Empty for a process that has gone."""
    try:
        with open(f"/proc/{pid}/{name}") as file:
            return file.read()
    except OSError:
        return ""

def tree(pid):
    """Resident pages of a process and all below it. A child with its parent's own command line is a fork about to
    become another program: its pages are its parent's."""
    total = int((read(pid, "statm").split() or [0, 0])[1])
    tasks = os.listdir(f"/proc/{pid}/task") if os.path.isdir(f"/proc/{pid}/task") else []
    children = [int(child) for task in tasks for child in read(pid, f"task/{task}/children").split()]
    return total + sum(tree(child) for child in children if read(child, "cmdline") != read(pid, "cmdline"))

started, peak = time.perf_counter(), 0
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
while True:
    done, status, usage = os.wait4(pid, os.WNOHANG)
    if done:
        break
    with suppress(OSError):  # it ends while it is looked at
        peak = max(peak, tree(pid) * os.sysconf("SC_PAGE_SIZE"))
    time.sleep(0.01)
peak = max(peak, usage.ru_maxrss * 1024)
os.write(2, ("\\n%f %f %f" % (time.perf_counter() - started, usage.ru_utime + usage.ru_stime, peak / 1e6)).encode())
sys.exit(os.waitstatus_to_exitcode(status))
'''


def tree(command: Sequence[str], cwd: str, environment: dict[str, str]) -> Usage:
    """Run a program to its end; ``rss_mb`` is the peak of it and its children together, looked at every 10 ms."""
    launch = [sys.executable, "-I", "-S", "-c", LAUNCHER, *command]
    cores = str(len(os.sched_getaffinity(0)))
    variables = {**os.environ, "OMP_NUM_THREADS": cores, "HF_HUB_OFFLINE": "1", **environment}
    done = subprocess.run(launch, cwd=cwd, env=variables, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed: {done.stderr.decode()}")
    wall, cpu, rss = map(float, done.stderr.split()[-3:])
    return Usage(wall, cpu, rss, done.stdout)


class Place:
    """The folder with everything that is made once."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.abspath(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.program, self.model = self.path("venv/bin/rclip"), f"open_clip:local-dir:{self.path('model')}"
        if not os.path.exists(self.program):
            subprocess.check_call([sys.executable, "-m", "venv", self.path("venv")])
            subprocess.check_call([self.path("venv/bin/python"), "-m", "pip", "install", "--quiet", RCLIP])
        if not os.path.exists(self.path("rclip/tokenizer")):
            make_models(self.path("model"), self.path("rclip"))

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def photos(self, count: int, width: int, quality: int) -> str:
        """A folder of ``count`` JPEG files, ``width`` pixels wide, 4:3."""
        folder = self.path(f"photos-{width}-{count}")
        if not os.path.isdir(folder):
            make_photos(f"{folder}.tmp", count, width, quality)
            os.rename(f"{folder}.tmp", folder)
        return folder


def make_models(ours: str, theirs: str) -> None:
    """One random model, as open_clip and as rclip keep it. The ONNX files are float32, as the ones it downloads."""
    import open_clip
    import torch

    from bench.encoders import make_model
    from mmsearch.encoders.export_text import write_onnx

    class Tower(torch.nn.Module):
        def __init__(self, encode) -> None:
            super().__init__()
            self.model, self.encode = model, encode

        def forward(self, given):
            return self.encode(given)

    os.makedirs(ours, exist_ok=True)
    os.makedirs(f"{theirs}/{THEIR_MODEL}", exist_ok=True)
    make_model(ours, ARCHITECTURE)
    model = open_clip.create_model(f"local-dir:{ours}").eval()
    tokens = open_clip.get_tokenizer(ARCHITECTURE)([QUESTION, "a dog"])
    inputs = {"visual": (model.encode_image, torch.zeros(2, 3, 256, 256)), "textual": (model.encode_text, tokens)}
    several = ({0: torch.export.Dim.DYNAMIC},)
    for name, (encode, example) in inputs.items():
        place = f"{theirs}/{THEIR_MODEL}/{name}.onnx"
        write_onnx(Tower(encode), (example,), place, ["input"], several)
    os.makedirs(f"{theirs}/tokenizer", exist_ok=True)
    words = os.path.join(os.path.dirname(open_clip.__file__), "bpe_simple_vocab_16e6.txt.gz")
    shutil.copy(words, f"{theirs}/tokenizer")


def make_photos(folder: str, count: int, width: int, quality: int) -> None:
    os.makedirs(folder, exist_ok=True)
    random = np.random.default_rng(0)
    size = width, width * 3 // 4
    found = sorted(glob.glob(f"{DATA}/flickr8k/val/*.jpg")) or sorted(glob.glob(f"{DATA}/flickr8k/**/*.jpg"))
    noise = random.normal(0, 4, (size[1], size[0], 1)).astype(np.int16)
    for i in range(count):
        if found:
            small = Image.open(found[i % len(found)]).convert("RGB")
        else:
            small = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        large = np.asarray(small.resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = (large + np.roll(noise, random.integers(0, size[0]))).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(f"{folder}/{i:05}.jpg", quality=quality)


class Ours:
    """mmsearch with a library of its own; what it knows of the model is kept from run to run."""

    def __init__(self, place: Place, library: str) -> None:
        self._place, self.library = place, library
        self._environment = {"MMSEARCH_CACHE": place.path("cache"), "MMSEARCH_CONFIG": place.path("none.toml")}

    def run(self, *arguments: str, **environment: str) -> Usage:
        command = [sys.executable, "-m", "mmsearch", "--library", self.library, *arguments]
        return tree(command, REPOSITORY, self._environment | environment)

    def index(self, photos: str, **environment: str) -> Usage:
        return self.run("index", photos, "--model", self._place.model, **environment)

    def query(self) -> Usage:
        return self.run("query", QUESTION)


class Theirs:
    """rclip with a database of its own."""

    def __init__(self, place: Place, folder: str) -> None:
        self._program, self._folder = place.program, folder
        os.makedirs(folder, exist_ok=True)
        for name in (THEIR_MODEL, "tokenizer"):
            os.symlink(os.path.join(place.path("rclip"), name), os.path.join(folder, name))

    @property
    def database(self) -> str:
        return os.path.join(self._folder, "db.sqlite3")

    def index(self, photos: str) -> Usage:
        return self._run(photos)

    def query(self, photos: str) -> Usage:
        return self._run(photos, "--no-indexing")

    def _run(self, photos: str, *options: str) -> Usage:
        return tree([self._program, *options, QUESTION], photos, {"RCLIP_DATADIR": self._folder})


def report(case: str, ours: list[Usage], theirs: list[Usage], **more: object) -> None:
    figures = {
        "wall": ratios([u.wall for u in ours], [u.wall for u in theirs]),
        "cpu": ratios([u.cpu for u in ours], [u.cpu for u in theirs]),
        "rss": ratios([u.rss_mb for u in ours], [u.rss_mb for u in theirs]),
    }
    for name, used in (("ours", ours), ("rclip", theirs)):
        figures |= {f"{name}_wall_s": spread([u.wall for u in used]), f"{name}_cpu_s": spread([u.cpu for u in used])}
        figures |= {f"{name}_rss_mb": spread([u.rss_mb for u in used], 0)}
    row("rclip", case, **figures, **more, bars=BARS.get(case, {}))


def first_use(place: Place, photos: str) -> None:
    """What is known about the model is forgotten first."""
    shutil.rmtree(place.path("cache"), ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=place.folder) as scratch:
        ours = Ours(place, f"{scratch}/library")
        used = ours.index(photos)
        model = json.loads(ours.run("--json", "index", photos).output)
    row("rclip", "first use", wall_s=used.wall, cpu_s=used.cpu, rss_mb=round(used.rss_mb), files=model["seen"])


def index(place: Place, case: str, photos: str, pairs: int) -> None:
    ours, theirs, asked = [], [], []
    for _ in range(pairs):
        with tempfile.TemporaryDirectory(dir=place.folder) as scratch:
            own, other = Ours(place, f"{scratch}/library"), Theirs(place, f"{scratch}/rclip")
            ours.append(own.index(photos))
            theirs.append(other.index(photos))
            asked.append(own.query())
    together = [u.wall + q.wall for u, q in zip(ours, asked, strict=True)]
    count = len(os.listdir(photos))
    report(
        case,
        ours,
        theirs,
        files=count,
        files_s=ratios([count / u.wall for u in ours], [count / u.wall for u in theirs]),
        files_cpu_s=ratios([count / u.cpu for u in ours], [count / u.cpu for u in theirs]),
        ours_files_s=spread([count / u.wall for u in ours], 1),
        rclip_files_s=spread([count / u.wall for u in theirs], 1),
        with_query=ratios([count / wall for wall in together], [count / u.wall for u in theirs]),
    )


def rerun(place: Place, photos: str, pairs: int) -> None:
    with tempfile.TemporaryDirectory(dir=place.folder) as scratch:
        own, other = Ours(place, f"{scratch}/library"), Theirs(place, f"{scratch}/rclip")
        own.index(photos)
        other.index(photos)
        turns = [(own.index(photos), other.index(photos), own.query()) for _ in range(pairs)]
    ours, theirs, asked = (list(used) for used in zip(*turns, strict=True))
    together = [u.wall + q.wall for u, q in zip(ours, asked, strict=True)]
    with_query = ratios(together, [u.wall for u in theirs])
    report("rerun", ours, theirs, files=len(os.listdir(photos)), with_query=with_query)


def query(place: Place, case: str, photos: str, count: int, pairs: int) -> None:
    """``count`` files in both databases, written by this script; the few that are indexed bring the text tower."""
    with tempfile.TemporaryDirectory(dir=place.folder) as scratch:
        own, other = Ours(place, f"{scratch}/library"), Theirs(place, f"{scratch}/rclip")
        few = f"{scratch}/few"
        os.makedirs(few)
        for name in sorted(os.listdir(photos))[:8]:
            shutil.copy(os.path.join(photos, name), few)
        own.index(few)
        other.index(few)
        fill(own.library, place, other.database, few, count)
        pages = [(own.query(), other.query(few)) for _ in range(pairs + 1)][1:]  # the first warms the page cache
    report(case, *(list(used) for used in zip(*pages, strict=True)), rows=count)


def fill(library: str, place: Place, database: str, photos: str, count: int) -> None:
    """Random vectors under names that are not there, until both hold ``count``."""
    os.environ["MMSEARCH_CACHE"] = place.path("cache")
    spec = registry.load(place.model).spec
    vectors = np.random.default_rng(0).standard_normal((count - len(os.listdir(photos)), spec.dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with Catalog(library) as catalog:
        space, scope = catalog.space(spec), roots.claim(catalog, os.fsencode(photos))
        for start in range(0, len(vectors), 5000):
            rows = enumerate(vectors[start : start + 5000, None], start)
            records = [
                Record(
                    file=FileStat(b"no-%06d.jpg" % i, 1, 1, i),
                    state=State.OK,
                    modality=Modality.IMAGE,
                    spans=(None,),
                    vectors=vector,
                )
                for i, vector in rows
            ]
            catalog.write_batch(scope.root_id, space.id, records)
        artifacts.refresh(catalog, space)
    with closing(sqlite3.connect(database)) as theirs, theirs:
        theirs.executemany(
            "INSERT INTO images (filepath, modified_at, size, vector, hash) VALUES (?, 1, 1, ?, ?)",
            ((f"{photos}/no-{i:06}.jpg", vector.tobytes(), f"{i:064x}") for i, vector in enumerate(vectors)),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", default=["first-use", *BARS], choices=["first-use", *BARS])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--big", type=int, default=48, help="photos of 12 megapixels")
    parser.add_argument("--place", default=os.path.join(REPOSITORY, "build", "rclip"))
    arguments = parser.parse_args()
    place = Place(arguments.place)
    small = place.photos(arguments.photos, 500, 95)
    if "first-use" in arguments.rows or not os.path.isdir(place.path("cache")):
        first_use(place, small)
    if "index-500px" in arguments.rows:
        index(place, "index-500px", small, arguments.pairs)
    if "index-12mp" in arguments.rows:
        index(place, "index-12mp", place.photos(arguments.big, 4000, 85), arguments.pairs)
    for case, count in (("query-500", 500), ("query-100k", 100_000)):
        if case in arguments.rows:
            query(place, case, small, count, arguments.pairs)
    if "rerun" in arguments.rows:
        rerun(place, small, arguments.pairs)


if __name__ == "__main__":
    main()
