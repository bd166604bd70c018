"""Random sequences of replacements, after each of which the catalog must equal the tree.

python -m tests.reliability.replace 1000 1     1,000 sequences, drawn from seed 1
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
import sys
import tempfile
from random import Random

from mmsearch import Library

from .harness.pictures import png, random_pixels
from .harness.world import SIZE

PLACES = (b"1.png", b"2.png", b"a", b"a/1.png", b"a/b", b"a/b/1.png", b"c/1.png", b"c")
KINDS = ("file", "file", "file", "folder", "link to a file", "link to a folder", "fifo", "socket", "nothing")
ROUNDS = 4


def check_sequence(folder: str, rng: Random) -> list[str]:
    """What was wrong after some rounds of replacing and indexing; ``folder`` is an empty one."""
    root = os.path.join(os.fsencode(folder), b"tree")
    outside = os.path.join(os.fsencode(folder), b"outside")
    for place in (root, outside):
        os.mkdir(place)
    contents = [png(random_pixels(rng, SIZE)) for _ in range(4)]
    for name in (b"1.png", b"b"):
        _put(os.path.join(outside, name), "file", outside, contents, rng)
    wrong = []
    with Library(os.path.join(folder, "library")) as library:
        done = []
        for _ in range(ROUNDS):
            for _ in range(rng.randint(1, 6)):
                place, kind = rng.choice(PLACES), rng.choice(KINDS)
                if _is_free(root, place):
                    done.append((place, kind))
                    _put(os.path.join(root, place), kind, outside, contents, rng)
            if not os.listdir(root):  # that is a drive that is not there
                _put(os.path.join(root, b"1.png"), "file", outside, contents, rng)
            library.index([root], model="fake", device="cpu")
            rows = library.reader.query("SELECT path, sha256 FROM item WHERE gone IS NULL AND state = 'ok'")
            if dict(rows) != (there := _tree(root)):
                wrong.append(f"after {done}: {dict(rows)} is known, {there} is there")
    return wrong


def _is_free(root: bytes, place: bytes) -> bool:
    """Whether the folders on the way are ones, or can be made: not through a link or what is no folder."""
    above = os.path.dirname(place)
    while above:
        path = os.path.join(root, above)
        if os.path.lexists(path) and not stat.S_ISDIR(os.lstat(path).st_mode):
            return False
        above = os.path.dirname(above)
    return True


def _put(path: bytes, kind: str, outside: bytes, contents: list[bytes], rng: Random) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(path):
        shutil.rmtree(path) if stat.S_ISDIR(os.lstat(path).st_mode) else os.unlink(path)
    match kind:
        case "file":
            with open(path, "wb") as file:
                file.write(rng.choice(contents))
            if rng.random() < 0.5:  # as an archive does it, or a copy that keeps times
                os.utime(path, (1_700_000_000, 1_700_000_000))
        case "folder":
            os.mkdir(path)
        case "link to a file":
            os.symlink(os.path.join(outside, b"1.png"), path)
        case "link to a folder":
            os.symlink(outside, path)
        case "fifo":
            os.mkfifo(path)
        case "socket":
            here = os.getcwd()
            os.chdir(os.path.dirname(path))  # a socket's path may have 107 bytes
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(os.path.basename(path))
            os.chdir(here)


def _tree(root: bytes) -> dict[bytes, bytes]:
    """The regular files below ``root``, by another walk than the program's, with the sha256 of each."""
    found = {}
    for folder, _, names in os.walk(root):
        for path in (os.path.join(folder, name) for name in names):
            if stat.S_ISREG(os.lstat(path).st_mode):
                with open(path, "rb") as file:
                    found[os.path.relpath(path, root)] = hashlib.sha256(file.read()).digest()
    # A name without a suffix holds a picture all the same: content decides.
    return found


def main() -> int:
    count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    wrong = []
    for number in range(count):
        with tempfile.TemporaryDirectory() as folder:
            wrong += check_sequence(folder, Random(f"replace {seed} {number}"))
    for why in wrong[:10]:
        print(why, file=sys.stderr)
    print(f"{count} sequences, {len(wrong)} rounds after which the catalog is not the tree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
