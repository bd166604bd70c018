"""Fetch models from the Hugging Face Hub: the only module that opens a connection.

The Hub's client neither goes on with a half-fetched file after a kill nor compares checksums (huggingface_hub
2.4), so files are received here; listing, addresses, tokens, proxies and offline mode are the client's
(``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``, ``HTTPS_PROXY``, ...).
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from mmsearch.errors import Locked, MissingExtra, MissingModel, MMSearchError, StorageFull, UsageError
from mmsearch.hub import cache, source
from mmsearch.hub.source import Need

TRIES = 5
"""So often in a row a file may bring no new byte before we give up."""
PAUSE_S = 0.5
RESERVE = 50_000_000
"""Bytes of disk that a pull leaves free."""

Progress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes that are here, and its size."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file to fetch. ``digest`` is its sha256 where the Hub knows it (all weights), else git's sha1."""

    name: str
    bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What a repository has of a model at its newest commit."""

    repo: str
    commit: str
    licence: str
    files: tuple[Remote, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def missing_bytes(self) -> int:
        """What is still to come: neither whole nor half here."""
        return sum(file.bytes - _arrived(self.repo, file) for file in self.files)


def plan(model: str, *, allow_pickle: bool = False) -> list[Listing]:
    """What a pull of this model would fetch, from where and under which licence.

    Raises ``UsageError`` for an unknown model or repository, ``MissingModel`` where the Hub can't be reached or
    there are no weights that may be read, ``MissingExtra`` without huggingface_hub.
    """
    todo = source.needs(model)
    listings: list[Listing] = []
    while todo:
        need = todo.pop(0)
        listing = _list(need, allow_pickle)
        listings.append(listing)
        config = next((file for file in listing.files if file.name == source.CONFIG), None)
        if model.startswith("open_clip:hf-hub:") and config is not None and need.stems:
            # A few hundred bytes, read before anybody is asked: they name the repository of the tokenizer.
            _fetch(listing, config, lambda name, here, size: None)
            with open(cache.blob(listing.repo, config.digest), encoding="utf-8") as file:
                todo += source.tokenizer_in(file.read(), listing.repo)
    return listings


def pull(listings: list[Listing], progress: Progress = lambda name, here, size: None) -> None:
    """Fetch what is missing, check it, and only then let encoders find it. Goes on where a former pull stopped.

    Raises ``MissingModel`` for bytes that do not come or are not what was promised, ``StorageFull``, ``Locked``.
    """
    for listing in listings:
        _require_space(listing)
        for file in listing.files:
            _fetch(listing, file, progress)
            cache.link(listing.repo, listing.commit, file.name, file.digest)
    # The tokenizer's repository comes last in the list and must be there before the model can be found.
    for listing in reversed(listings):
        cache.use(listing.repo, listing.commit)


def _list(need: Need, allow_pickle: bool) -> Listing:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingExtra("`mmsearch models pull`", "hub") from error
    with _explained(need.repo):
        info = HfApi().model_info(need.repo, files_metadata=True, timeout=_timeout())
    known = {sibling.rfilename: sibling for sibling in info.siblings or []}
    files = []
    for name in source.choose(need, known, allow_pickle):
        sibling = known[name]
        digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        if digest is None or sibling.size is None:
            raise MissingModel(f"{need.repo} does not say what {name} should be: it can't be checked")
        cache.blob(need.repo, digest)  # refuses what is no checksum
        cache.require_name(need.repo, name)
        files.append(Remote(name, sibling.size, digest))
    if not re.fullmatch(r"[0-9a-f]{40}", info.sha or ""):
        raise MissingModel(f"{need.repo}: {info.sha!r} is no commit")
    return Listing(need.repo, info.sha, _licence(info), tuple(files))


def _licence(info: object) -> str:
    """The licence of a repository's card, or of its tags."""
    card = getattr(info, "card_data", None)
    named = getattr(card, "license_name", None) or getattr(card, "license", None)
    tags = [tag.removeprefix("license:") for tag in getattr(info, "tags", None) or [] if tag.startswith("license:")]
    return str(named or next(iter(tags), "not stated"))


def _arrived(repo: str, file: Remote) -> int:
    whole = cache.blob(repo, file.digest)
    for path in (whole, f"{whole}.incomplete"):
        if os.path.exists(path):
            return min(os.path.getsize(path), file.bytes)
    return 0


def _require_space(listing: Listing) -> None:
    place = cache.folder(listing.repo)
    os.makedirs(place, exist_ok=True)
    free = shutil.disk_usage(place).free
    if free < listing.missing_bytes + RESERVE:
        raise StorageFull(f"{place}: {listing.missing_bytes} bytes are to come and {free} are free: free some space")


def _fetch(listing: Listing, file: Remote, progress: Progress) -> None:
    """Receive one file, unless it is here and right, and check it."""
    path = cache.blob(listing.repo, file.digest)
    if os.path.exists(path) and cache.intact(path, file.digest):
        progress(file.name, file.bytes, file.bytes)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    partial = f"{path}.incomplete"
    with open(partial, "ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(f"{listing.repo} is being pulled by another process: wait for it") from None
        with _explained(listing.repo):
            _receive(listing, file, stream, progress)
            stream.flush()
            os.fsync(stream.fileno())
        if not cache.intact(partial, file.digest):
            os.unlink(partial)
            raise MissingModel(
                f"{listing.repo}: {file.name} arrived with a wrong checksum and was deleted: pull it again, "
                "and mistrust the server if that happens twice"
            )
        os.replace(partial, path)


def _receive(listing: Listing, file: Remote, stream: BinaryIO, progress: Progress) -> None:
    """Append what is missing of a file; a broken connection is taken up again where it broke."""
    import httpx2

    failures = 0
    while (here := stream.tell()) < file.bytes:
        try:
            _stream(listing, file, stream, progress)
            problem = "the server ended too early"
        except httpx2.ProxyError:
            raise
        except (httpx2.TransportError, httpx2.StreamError) as error:
            problem = str(error) or type(error).__name__
        failures = 0 if stream.tell() > here else failures + 1
        if failures == TRIES:
            raise MissingModel(
                f"{listing.repo}: {file.name} stopped at {stream.tell()} of {file.bytes} bytes ({problem}): run the "
                "command again, it goes on from there"
            )
        if stream.tell() < file.bytes:
            time.sleep(PAUSE_S * failures)


def _stream(listing: Listing, file: Remote, stream: BinaryIO, progress: Progress) -> None:
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    url = hf_hub_url(listing.repo, file.name, revision=listing.commit)
    # Compressed bytes could not be taken up again in the middle.
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if stream.tell():
        headers["Range"] = f"bytes={stream.tell()}-"
    with get_session().stream("GET", url, headers=headers, timeout=_timeout()) as response:
        if response.status_code == 416:  # the server's file is shorter than what is here
            stream.truncate(0)
            stream.seek(0)
            return
        hf_raise_for_status(response)
        if response.status_code != 206:  # a server that knows no ranges starts from the beginning
            stream.truncate(0)
            stream.seek(0)
        for chunk in response.iter_bytes():
            stream.write(chunk[: file.bytes - stream.tell()])
            progress(file.name, stream.tell(), file.bytes)
            if stream.tell() >= file.bytes:
                return


def _timeout() -> float:
    from huggingface_hub import constants

    return float(constants.HF_HUB_DOWNLOAD_TIMEOUT)


@contextmanager
def _explained(repo: str) -> Iterator[None]:
    """What the client's errors mean for somebody who wants a model."""
    import httpx2
    from huggingface_hub import constants, errors

    try:
        yield
    except MMSearchError:
        raise
    except errors.OfflineModeIsEnabled as error:
        raise MissingModel(
            f"HF_HUB_OFFLINE is set, so {repo} can't be fetched: unset it, or bring the files from another machine "
            "with `mmsearch models import FOLDER`"
        ) from error
    except errors.GatedRepoError as error:
        page = f"{constants.ENDPOINT}/{repo}"
        raise MissingModel(f"{repo} asks for consent: accept its terms at {page}, then set HF_TOKEN") from error
    except errors.RepositoryNotFoundError as error:
        raise UsageError(f"{constants.ENDPOINT} has no repository {repo}, or it is private: set HF_TOKEN") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise MissingModel(f"{constants.ENDPOINT} answered {status} for {repo}: run the command again later") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
        what = str(error) or type(error).__name__
        raise MissingModel(
            f"{constants.ENDPOINT} can't be reached ({what}): look at HF_ENDPOINT and the proxy settings"
        ) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise StorageFull(f"{cache.folder(repo)}: no space left: free some and run the command again") from error
