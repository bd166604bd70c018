"""The folder that is indexed, and what is known of it: which content lies under which name, now and before."""

from __future__ import annotations

import hashlib
import os
import shutil
from random import Random

from mmsearch.encoders import registry
from mmsearch.types import Modality

from .pictures import Pixels, png, random_pixels

SIZE = getattr(registry.load("fake").spec.image, "size", 0)
"""Pictures are as large as the encoder takes them, so that its input is known to the bit."""

NAMES = (b"photo", b"a\nb", b"caf\xc3\xa9", b"cafe\xcc\x81", b"not-utf8-\xff", b"x" * 240)


class World:
    """A tree of pictures below ``root``, changed by a seeded plan between runs."""

    def __init__(self, root: bytes, rng: Random) -> None:
        self.root, self.rng = root, rng
        self.files: dict[bytes, str] = {}
        """Absolute path to the sha256 of its content, as hex."""
        self.history: dict[bytes, set[str]] = {}
        """Every content that a path ever had."""
        self.pixels: dict[str, Pixels] = {}
        self.data: dict[str, bytes] = {}
        self._vectors: dict[tuple[int, str], bytes] = {}
        self._clock = 1_700_000_000_000_000_000
        self._made = 0
        os.makedirs(root)

    # -- what must be ---------------------------------------------------------------------------------------------

    def vector(self, sha256: str, dim: int) -> bytes:
        """What the catalog must hold for a content: the fake encoder's float16 row."""
        if (dim, sha256) not in self._vectors:
            row = registry.load(f"fake:{dim}").encode([self.pixels[sha256]], Modality.IMAGE)
            self._vectors[dim, sha256] = row.astype("<f2").tobytes()
        return self._vectors[dim, sha256]

    # -- changing it ----------------------------------------------------------------------------------------------

    def mutate(self, count: int) -> None:
        """Change the tree ``count`` times at random."""
        for _ in range(count):
            kind = self.rng.choices(
                ("add", "change", "rename", "copy", "delete", "touch", "move"), (8, 4, 3, 3, 3, 2, 1)
            )[0]
            if kind == "add" or len(self.files) < 3:
                self.add()
            else:
                getattr(self, f"_{kind}")(self.rng.choice(sorted(self.files)))

    def add(self) -> bytes:
        """A new picture under a new name."""
        path = self._new_path()
        self.write(path, self._new_content())
        return path

    def write(self, path: bytes, sha256: str) -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(self.data[sha256])
        self._stamp(path)
        self.files[path] = sha256
        self.history.setdefault(path, set()).add(sha256)

    def _change(self, path: bytes) -> None:
        self.write(path, self._new_content())

    def _copy(self, path: bytes) -> None:
        self.write(self._new_path(), self.files[path])

    def _rename(self, path: bytes) -> None:
        new = self._new_path()
        os.makedirs(os.path.dirname(new), exist_ok=True)
        os.rename(path, new)
        self._moved(path, new)

    def _move(self, path: bytes) -> None:
        """Rename a folder with all that is in it."""
        folder = os.path.dirname(path)
        if folder == self.root:
            return
        self._made += 1
        new = os.path.join(self.root, b"moved%d" % self._made)
        os.rename(folder, new)
        for old in [p for p in self.files if p.startswith(folder + b"/")]:
            self._moved(old, new + old[len(folder) :])

    def _delete(self, path: bytes) -> None:
        os.unlink(path)
        del self.files[path]

    def _touch(self, path: bytes) -> None:
        self._stamp(path)

    def _moved(self, old: bytes, new: bytes) -> None:
        self.files[new] = self.files.pop(old)
        self.history.setdefault(new, set()).add(self.files[new])

    def _stamp(self, path: bytes) -> None:
        """A time of its own for every write: the file system's clock may tick too slowly to tell two apart."""
        self._clock += 1_000_003
        os.utime(path, ns=(self._clock, self._clock))

    def _new_content(self) -> str:
        pixels = random_pixels(self.rng, SIZE)
        data = png(pixels)
        sha256 = hashlib.sha256(data).hexdigest()
        self.pixels[sha256], self.data[sha256] = pixels, data
        return sha256

    def _new_path(self) -> bytes:
        self._made += 1
        folder = self.rng.choice((b"", b"", b"a", b"a/b", b"c d"))
        name = self.rng.choice(NAMES)
        return os.path.join(self.root, folder, b"%s%d.png" % (name, self._made))

    # -- a drive that goes and comes ------------------------------------------------------------------------------

    def unplug(self) -> None:
        os.rename(self.root, self.root + b".unplugged")
        if self.rng.random() < 0.5:
            os.mkdir(self.root)  # an empty mount point

    def plug(self) -> None:
        if os.path.isdir(self.root):
            os.rmdir(self.root)
        os.rename(self.root + b".unplugged", self.root)

    def remove(self) -> None:
        shutil.rmtree(self.root)
