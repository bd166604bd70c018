"""One bit of one file of a library flips: what `check --read-data` must see.

    python -m tests.reliability.harness.rot FLIPS SEED

A flip counts where it changes what the library says: a row of any table (read by bare SQL; one that can't be read
counts), a tower, a bridge, an index file. Flips in bytes that nothing reads (free space in a page) need not be seen.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np

from mmsearch import Library
from mmsearch.encoders import bridge, kept
from mmsearch.errors import MMSearchError

from .world import World

LOCK = "lock"


@dataclass(slots=True)
class Report:
    """``changed``: flips that counted, by the file they hit; ``unseen``: those that `check` did not name."""

    flips: int = 0
    changed: Counter[str] = field(default_factory=Counter)
    alarms: int = 0
    unseen: list[str] = field(default_factory=list)
    unmended: list[str] = field(default_factory=list)


def files_of(folder: str) -> list[str]:
    """What can rot: every file but the lock and SQLite's empty log."""
    found = [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]
    return sorted(path for path in found if os.path.basename(path) != LOCK and os.path.getsize(path))


def said(folder: str) -> object:
    """All that a library's tables say, by bare SQL; an error's name where they can't be read."""
    db = sqlite3.connect(f"file:{folder}/catalog.sqlite?mode=ro&immutable=1", uri=True)
    db.text_factory = lambda data: data.decode(errors="surrogateescape")
    try:
        tables = db.execute(
            "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
        ).fetchall()
        own = [name for name, sql in tables if sql and "TABLE" in sql and not name.startswith(_INNER)]
        return tables, [sorted(map(repr, db.execute(f'SELECT * FROM "{name}"'))) for name in own]
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return repr(type(error))
    finally:
        db.close()


_INNER = ("item_text_", "segment_text_")


def checkpoint(folder: str) -> None:
    """Everything into one file, as a writer that ends leaves it."""
    with sqlite3.connect(os.path.join(folder, "catalog.sqlite")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    for suffix in ("-wal", "-shm"):
        if os.path.exists(path := os.path.join(folder, f"catalog.sqlite{suffix}")):
            os.unlink(path)


def campaign(folder: str, flips: int, rng: Random, repair_every: int = 0) -> Report:
    """Flip one bit at a time in a library that is whole, look, and set it right.

    Three of four in the catalog, most of which is free space, the others in each file alike often. ``repair_every``: so
    often a copy of the library is also repaired, and must then check clean or have said what it can't do.
    """
    checkpoint(folder)
    report, files, before = Report(), files_of(folder), said(folder)
    catalog = os.path.join(folder, "catalog.sqlite")
    assert Library(folder).check("data") == []
    for number in range(flips):
        path = catalog if number % 4 else files[number // 4 % len(files)]
        at, bit = rng.randrange(os.path.getsize(path)), 1 << rng.randrange(8)
        _flip(path, at, bit)
        try:
            _look(
                folder, path, f"byte {at}, bit {bit}", before, report, bool(repair_every and number % repair_every == 0)
            )
        finally:
            _flip(path, at, bit)
            for suffix in ("-wal", "-shm"):
                if os.path.exists(left := os.path.join(folder, f"catalog.sqlite{suffix}")):
                    os.unlink(left)
    assert Library(folder).check("data") == [], "the flips were not taken back"
    return report


def _flip(path: str, at: int, bit: int) -> None:
    """In place, with size, times and inode as they were: rot leaves no trace."""
    status = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ bit]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _look(folder: str, path: str, where: str, before: object, report: Report, repair: bool) -> None:
    name = os.path.relpath(path, folder)
    changed = name != "catalog.sqlite" or said(folder) != before
    try:
        problems = [problem.code for problem in Library(folder).check("data")]
    except MMSearchError as error:
        problems = [str(error)]
    report.flips += 1
    report.changed[name] += changed
    report.alarms += bool(problems)
    if changed and not problems:
        report.unseen.append(f"{name}, {where}")
    if repair and problems:
        _mend(folder, f"{name}, {where}", report)


def _mend(folder: str, where: str, report: Report) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        copy = shutil.copytree(folder, os.path.join(scratch, "library"))
        try:
            lines = Library(copy).repair()
            left = Library(copy).check("data")
        except MMSearchError as error:
            lines, left = [str(error)], []
        if (left and not any("can't be mended" in line or "left alone" in line for line in lines)) or not lines:
            report.unmended.append(f"{where}: {lines} {left}")


def make(folder: str, rng: Random) -> None:
    """A library with everything in it that can rot: words, captions, a document, an index, a tower, a bridge."""
    tree = folder + "-tree"
    world = World(os.fsencode(tree), rng)
    for _ in range(30):
        path = world.add()
        with open(path + b".txt", "w", encoding="utf-8") as file:
            file.write(f"caption {rng.random()} 一封信")
    with open(os.path.join(tree, "letter.md"), "w", encoding="utf-8") as file:
        file.write("\n\n".join(f"# Part {n}\n" + "dear child, " * 60 for n in range(9)))
    with Library(folder) as library:
        library.index([tree], model="fake", index="exact", device="cpu")
        image = library.encoder("fake").spec
        made = bridge.Bridge(
            image_model="fake", image_space=image.space, audio_model="fake:64", audio_space="other",
            weight=np.random.default_rng(0).standard_normal((64, image.dim)).astype(np.float32),
            words=np.zeros(64, np.float32), photos=np.zeros(image.dim, np.float32),
            spread=1.0, audio_rate=48_000, audio_window=10.0,
        )  # fmt: skip
        path = bridge.save(folder, "b.npz", made)
        with library.catalog() as catalog:
            catalog.space(replace(image, name=f"bridge:{path}", space=made.space))

    def tower(newborn: str) -> None:
        os.makedirs(os.path.join(newborn, "textual"))
        for name in ("model.safetensors", "settings.json"):
            with open(os.path.join(newborn, "textual", name), "wb") as file:
                file.write(rng.randbytes(5000))
        with open(os.path.join(newborn, "config.json"), "w", encoding="utf-8") as file:
            json.dump({"spec": {"space": image.space}, "files": {}}, file)
        kept._synced(newborn)

    kept._born(folder, image.space, tower)


def main() -> None:
    flips, seed = int(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MMSEARCH_CACHE"] = os.path.join(scratch, "cache")
        folder = os.path.join(scratch, "library")
        make(folder, Random(f"{seed}"))
        report = campaign(folder, flips, Random(seed), repair_every=10)
    print(f"{report.flips} flips, {sum(report.changed.values())} of them changed something: {dict(report.changed)}")
    print(f"{report.alarms} alarms, {len(report.unseen)} unseen, {len(report.unmended)} neither mended nor named")
    for line in (*report.unseen, *report.unmended):
        print(line)
    raise SystemExit(bool(report.unseen or report.unmended))


if __name__ == "__main__":
    main()
