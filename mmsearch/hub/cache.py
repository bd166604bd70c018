"""The Hugging Face cache on disk, so that every program finds what one has fetched (``HF_HOME``, ``HF_HUB_CACHE``).

    models--OWNER--NAME/blobs/<digest>             a file's bytes, named after its sha256, or git's sha1 if it is small
                        blobs/<digest>.incomplete  what has arrived of it so far
                        snapshots/<commit>/<name>  a link to its blob
                        refs/main                  the commit that is in use: written last, when all files are there

Layout: huggingface_hub, "Understand caching". A file whose bytes do not give its blob's name is never linked.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass

from mmsearch.errors import MissingExtra, MissingModel

_DIGEST = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@dataclass(frozen=True, slots=True)
class File:
    """A file of a snapshot; ``digest`` is empty where it is no link, so that nothing says what it should be."""

    name: str
    path: str
    bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the cache has of a repository, at the commit in use."""

    repo: str
    commit: str
    files: tuple[File, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def folder(repo: str) -> str:
    """Where a repository lies in the cache. Raises ``MissingExtra`` without huggingface_hub."""
    try:
        from huggingface_hub import constants
    except ImportError as error:
        raise MissingExtra("models from the Hugging Face Hub", "hub") from error
    return os.path.join(constants.HF_HUB_CACHE, "models--" + repo.replace("/", "--"))


def blob(repo: str, digest: str) -> str:
    """The path of a blob. Raises ``MissingModel`` for a name that is no digest: it comes from a server."""
    if not _DIGEST.fullmatch(digest):
        raise MissingModel(f"{repo}: {digest!r} is no checksum")
    return os.path.join(folder(repo), "blobs", digest)


def require_name(repo: str, name: str) -> None:
    """Raise ``MissingModel`` for a file name that leads out of its folder: it comes from a server or a stranger."""
    if any(part in ("", ".", "..") for part in name.split("/")) or not name.isprintable():
        raise MissingModel(f"{repo}: {name!r} is no file name for a model")


def snapshot(repo: str) -> Snapshot | None:
    """What is here of a repository; None if nothing is ready for use."""
    base = folder(repo)
    try:
        with open(os.path.join(base, "refs", "main"), encoding="utf-8") as file:
            commit = file.read().strip()
    except OSError:
        return None
    here = os.path.join(base, "snapshots", commit)
    files = []
    for parent, _, names in os.walk(here):
        for name in sorted(names):
            path = os.path.join(parent, name)
            target = os.path.basename(os.readlink(path)) if os.path.islink(path) else ""
            size = os.path.getsize(path) if os.path.exists(path) else 0
            digest = target if _DIGEST.fullmatch(target) else ""
            files.append(File(os.path.relpath(path, here), path, size, digest))
    return Snapshot(repo, commit, tuple(files)) if files else None


def incomplete(repo: str) -> int:
    """How many bytes of unfinished files are here."""
    blobs = os.path.join(folder(repo), "blobs")
    if not os.path.isdir(blobs):
        return 0
    return sum(entry.stat().st_size for entry in os.scandir(blobs) if entry.name.endswith(".incomplete"))


def intact(path: str, digest: str) -> bool:
    """Whether a file's bytes give this sha256 (64 digits) or git's sha1 (40 digits). Costs a second a gigabyte."""
    try:
        with open(path, "rb") as file:
            if len(digest) == 64:
                return hashlib.file_digest(file, "sha256").hexdigest() == digest
            git = hashlib.sha1(b"blob %d\0" % os.fstat(file.fileno()).st_size, usedforsecurity=False)
            return hashlib.file_digest(file, lambda: git).hexdigest() == digest
    except OSError:
        return False


def link(repo: str, commit: str, name: str, digest: str) -> None:
    """Give a checked blob its name in a snapshot."""
    require_name(repo, name)
    path = os.path.join(folder(repo), "snapshots", commit, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    target = os.path.relpath(blob(repo, digest), os.path.dirname(path))
    # Beside it and renamed, so that a name never points nowhere.
    fresh = f"{path}.{os.getpid()}"
    os.symlink(target, fresh)
    os.replace(fresh, path)


def use(repo: str, commit: str) -> None:
    """Make a snapshot the one in use: from now on encoders find it."""
    refs = os.path.join(folder(repo), "refs")
    os.makedirs(refs, exist_ok=True)
    fresh = os.path.join(refs, f"main.{os.getpid()}")
    with open(fresh, "w", encoding="utf-8") as file:
        file.write(commit)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, os.path.join(refs, "main"))


def damaged(found: Snapshot) -> list[File]:
    """The files of a snapshot whose bytes are not what their names promise, dangling links among them."""
    return [file for file in found.files if file.digest and not intact(file.path, file.digest)]


def remove(repo: str) -> None:
    """Delete everything of a repository."""
    shutil.rmtree(folder(repo), ignore_errors=True)
