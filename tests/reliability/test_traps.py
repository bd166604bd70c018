"""Strangers' files where ours are expected: links, names that look like ours. None is deleted, truncated or written."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mmsearch import Library
from mmsearch.encoders import kept
from mmsearch.errors import MMSearchError

from .harness.world import World

Trap = Callable[[Path, Path], None]
"""Sets itself in a library (its first argument), with or beside a stranger's folder (the second)."""

DEAD = 4_194_304 + 77  # more than Linux lets a process's number be


def _everything(folder: Path) -> dict[str, str]:
    """What lies in a folder: for each path its type and content, links not followed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(mode) else ""
        found[str(path.relative_to(folder))] = f"{stat.S_IFMT(mode):o} {content}"
    return found


# -- beside a library that is not there yet ----------------------------------------------------------------------------


def _beside(name: str, *files: str) -> Trap:
    def trap(library: Path, stranger: Path) -> None:
        place = stranger.parent / name.format(library=library.name)
        place.mkdir()
        for file in files:
            (place / file).parent.mkdir(exist_ok=True)
            (place / file).write_text("precious")
        (stranger / "beside").symlink_to(place)

    return trap


def _locked_birth(library: Path, stranger: Path) -> None:
    """Everything of a dead birth, and one file of a stranger's."""
    place = library.with_name(f"{library.name}.tmp-{DEAD}")
    place.mkdir()
    (place / "lock").write_text(f"process {DEAD} on here since then")
    (place / "thesis.txt").write_text("precious")


def _linked_birth(library: Path, stranger: Path) -> None:
    (stranger / "lock").write_text("process 1 on here")
    library.with_name(f"{library.name}.tmp-{DEAD}").symlink_to(stranger)


BIRTHS: dict[str, Trap] = {
    "a backup": _beside("{library}.tmp-backup", "a"),
    "digits and more": _beside(f"{{library}}.tmp-{DEAD}-old", "a"),
    "digits, no lock": _beside(f"{{library}}.tmp-{DEAD}", "a"),
    "digits, artifacts with a subfolder": _beside(f"{{library}}.tmp-{DEAD}", "artifacts/precious"),
    "digits, another lock": _beside(f"{{library}}.tmp-{DEAD}", "lock"),
    "digits of another writing": _beside("{library}.tmp-४२", "a"),
    "empty": _beside(f"{{library}}.tmp-{DEAD}"),
    "our lock and a stranger's file": _locked_birth,
    "a link": _linked_birth,
}


@pytest.mark.parametrize("name", BIRTHS)
def test_a_birth_deletes_nothing_beside_it(name: str, tmp_path: Path, world: World) -> None:
    library, stranger = tmp_path / "photos[1]*", tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "a.txt").write_text("precious")
    BIRTHS[name](library, stranger)
    for look_alike in ("photos1.tmp-1", f"photos[1]x.tmp-{DEAD}"):  # which `photos[1]*` would match as a pattern
        (tmp_path / look_alike).mkdir()
        (tmp_path / look_alike / "lock").write_text("process 1 on here since then")
    before = _everything(tmp_path)
    Library(str(library)).index([world.root], model="fake", index="exact", device="cpu")
    after = {path: what for path, what in _everything(tmp_path).items() if not path.startswith(library.name + "/")}
    assert after.pop(library.name)
    assert after == before


def test_a_dead_birth_is_cleared_away(tmp_path: Path, world: World) -> None:
    """The null control of the above."""
    left = tmp_path / f"library.tmp-{DEAD}"
    (left / "artifacts").mkdir(parents=True)
    (left / "lock").write_text(f"process {DEAD} on here since then")
    sqlite3.connect(left / "catalog.sqlite").close()
    Library(str(tmp_path / "library")).index([world.root], model="fake", device="cpu")
    assert not left.exists()


# -- inside a library --------------------------------------------------------------------------------------------------


def _link(name: str, target: str) -> Trap:
    def trap(library: Path, stranger: Path) -> None:
        place = library / name
        if place.is_dir():
            for entry in place.iterdir():
                entry.unlink()
            place.rmdir()
        place.unlink(missing_ok=True)
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(stranger / target)

    return trap


def _hard_link(name: str, target: str) -> Trap:
    def trap(library: Path, stranger: Path) -> None:
        (library / name).unlink(missing_ok=True)
        os.link(stranger / target, library / name)

    return trap


def _in_artifacts(*names: str) -> Trap:
    def trap(library: Path, stranger: Path) -> None:
        for name in names:
            path = library / "artifacts" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("precious")
        (stranger / "kept").symlink_to(library / "artifacts")

    return trap


def _next_index_is_a_link(library: Path, stranger: Path) -> None:
    for number in range(2, 9):
        (library / "artifacts" / f"{number}.exact.tmp").symlink_to(stranger / "a.txt")


def _next_index_is_a_folder(library: Path, stranger: Path) -> None:
    for number in range(2, 5):
        (library / "artifacts" / f"{number}.exact").mkdir()
        (library / "artifacts" / f"{number}.exact" / "a").write_text("precious")


def _foreign_database(library: Path, stranger: Path) -> None:
    """A stranger's database under the catalog's name, in a folder that looks like a library."""
    (library / "catalog.sqlite").unlink()
    with sqlite3.connect(library / "catalog.sqlite") as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    db.close()
    (stranger / "database").symlink_to(library / "catalog.sqlite")


def _foreign_lock(library: Path, stranger: Path) -> None:
    (library / "lock").write_text("0123456789 this is the key to my safe")
    (stranger / "key").symlink_to(library / "lock")


def _towers_are_a_link(library: Path, stranger: Path) -> None:
    (stranger / "holidays").mkdir()
    (stranger / "holidays" / "config.json").write_text("{}")
    (library / "text").symlink_to(stranger)


def _folder_among_the_towers(library: Path, stranger: Path) -> None:
    for name, file in (("holidays", "diary.txt"), ("letters", "config.json"), (f"x.tmp-{DEAD}", "diary.txt")):
        (library / "text" / name).mkdir(parents=True)
        (library / "text" / name / file).write_text('{"precious": 1}')
    (stranger / "towers").symlink_to(library / "text")


INSIDE: dict[str, Trap] = {
    "lock: a link": _link("lock", "a.txt"),
    "lock: a link to nothing": _link("lock", "new.txt"),
    "lock: a hard link": _hard_link("lock", "process.txt"),
    "lock: a stranger's": _foreign_lock,
    "catalog: a link": _link("catalog.sqlite", "other.sqlite"),
    "catalog: a hard link": _hard_link("catalog.sqlite", "other.sqlite"),
    "catalog: another program's": _foreign_database,
    "catalog's log: a link": _link("catalog.sqlite-wal", "a.txt"),
    "catalog's journal: a link": _link("catalog.sqlite-journal", "a.txt"),
    "artifacts: a link": _link("artifacts", ""),
    "artifacts: names of others": _in_artifacts("a.txt", "1.jpg", "2.exact.bak", "x.exact", "٣.exact", "sub/3.exact"),
    "artifacts: the next one is a link": _next_index_is_a_link,
    "artifacts: the next one is a folder": _next_index_is_a_folder,
    "towers: a link": _towers_are_a_link,
    "towers: folders of others": _folder_among_the_towers,
    "bridges: a link": _link("bridges", ""),
}


@pytest.mark.parametrize("name", INSIDE)
def test_no_command_touches_what_is_not_ours(name: str, tmp_path: Path, world: World, monkeypatch) -> None:
    folder, stranger = tmp_path / "library", tmp_path / "stranger"
    library, other = Library(str(folder)), Library(str(stranger / "as-library"))
    for made in (library, other):
        made.index([world.root], model="fake", index="exact", device="cpu")
        made.close()
    with sqlite3.connect(stranger / "as-library" / "catalog.sqlite") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    (stranger / "as-library" / "catalog.sqlite").rename(stranger / "other.sqlite")
    (stranger / "a.txt").write_text("precious")
    (stranger / "process.txt").write_text("process of making jam")
    (stranger / "7.exact").write_text("precious")
    INSIDE[name](folder, stranger)
    real = [path.resolve() if path.is_symlink() else path for path in [stranger, *stranger.iterdir()]]
    before = [_everything(path) if path.is_dir() else path.read_bytes() for path in real if path.exists()]
    world.add()
    for act in (
        lambda: library.index([world.root], device="cpu"),
        lambda: library.index([world.root], index="hash", device="cpu"),
        lambda: library.search("red"),
        lambda: library.check("deep"),
        library.repair,
        library.gc,
        library.prune,
        lambda: kept.drop(str(folder), []),
        lambda: kept.keep(str(folder), library.encoder("fake")),
    ):
        try:
            act()
        except MMSearchError as error:
            assert str(folder) in str(error), error
        finally:
            library.close()
    after = [_everything(path) if path.is_dir() else path.read_bytes() for path in real if path.exists()]
    if name.startswith("artifacts: ") and "link" not in name:
        own = {f"{number}.{kind}" for number in range(1, 20) for kind in ("exact", "hash")} - {"2.exact"}
        after, before = ([_without(one, own) for one in many] for many in (after, before))
    assert after == before


def _without(found: object, names: set[str]) -> object:
    return found if not isinstance(found, dict) else {n: what for n, what in found.items() if n not in names}


@pytest.mark.parametrize("state", ["deleted", "a folder in it"])
def test_artifacts_can_be_deleted(state: str, tmp_path: Path, library, folder, world, mmsearch) -> None:
    library.index([world.root], model="fake", index="exact", device="cpu")
    place = Path(folder) / "artifacts"
    if state == "deleted":
        (place / "1.exact").unlink()
        place.rmdir()
    else:
        (place / "notes").mkdir()
    for command in (("status",), ("gc",), ("repair",), ("index", world.root, "--index", "hash"), ("repair",)):
        done = mmsearch(*command)
        assert done.returncode == 0, (command, done.stderr)
    assert library.check("deep") == [] and library.search("red").index == "hash"


def test_a_library_is_its_owners(library, folder, world) -> None:
    """Whatever the umask: words of documents and places of photos are in it."""
    before = os.umask(0)
    try:
        library.index([world.root], model="fake", index="exact", device="cpu")
    finally:
        os.umask(before)
    for place, _, files in os.walk(folder):
        assert stat.S_IMODE(os.stat(place).st_mode) == 0o700, place
        for name in files:
            assert stat.S_IMODE(os.stat(os.path.join(place, name)).st_mode) == 0o600, name


def test_who_shares_a_library_shares_its_new_files(library, folder, world) -> None:
    library.index([world.root], model="fake", device="cpu")
    os.chmod(os.path.join(folder, "catalog.sqlite"), 0o640)
    before = os.umask(0)
    try:
        library.index([world.root], index="exact", device="cpu")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(os.path.join(folder, "artifacts", "1.exact")).st_mode) == 0o640


def test_a_lock_that_was_removed_is_noticed(folder, world) -> None:
    """Two writers who each hold a lock of their own would take each other's rows for damage."""
    from mmsearch.errors import Locked
    from mmsearch.store.catalog import Catalog

    with Catalog(folder) as first:
        os.unlink(os.path.join(folder, "lock"))
        with Catalog(folder) as second:
            with pytest.raises(Locked, match="removed"):
                first.set("index_kind", "exact")
            second.set("index_kind", "hash")
