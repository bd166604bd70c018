"""Every exception that mmsearch raises on purpose, and its exit code.

    MMSearchError                 70
    ├── UsageError                 2   a path, option or query that makes no sense
    ├── NoLibrary                 10   there is no library here
    ├── Locked                    11   another process is writing
    ├── SpaceMismatch             12   vectors of two models were about to be compared
    ├── Damaged                   13   the library is damaged
    ├── Missing                   14   something must be installed or fetched first
    │   ├── MissingExtra               a package of an extra is not installed
    │   ├── MissingModel               a model's files are absent, incomplete or wrong
    │   └── LibraryTooNew              written by a newer mmsearch
    ├── StorageFull               70   the disk is full: nothing is lost, run the command again
    ├── EncoderError              70   an encoder broke its contract (shape, NaN, zero row)
    └── MediaError                     one file can't be decoded: never ends a run
        ├── Unsupported                not a kind of file that mmsearch indexes: skipped
        ├── Rejected                   broken or over a limit: stays rejected until the file changes
        └── Transient                  a passing failure: tried again at the next run

Messages end with the command that helps. Only `mmsearch.cli` prints them and exits.
"""

from __future__ import annotations


class MMSearchError(Exception):
    """Root of the tree; ``exit_code`` is what the command line exits with."""

    exit_code = 70


class UsageError(MMSearchError):
    exit_code = 2


class NoLibrary(MMSearchError):
    exit_code = 10


class Locked(MMSearchError):
    exit_code = 11


class SpaceMismatch(MMSearchError):
    """Two space fingerprints differ where one was required."""

    exit_code = 12

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(
            f"this library holds vectors of space {expected}, the model makes {actual}: "
            "run `mmsearch index` to build the new space beside the old one"
        )


class Damaged(MMSearchError):
    exit_code = 13


class Missing(MMSearchError):
    exit_code = 14


class MissingExtra(Missing):
    """A package is not installed; the message names the extra that brings it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs an extra: pip install "mmsearch[{extra}]"')


class MissingModel(Missing):
    pass


class LibraryTooNew(Missing):
    pass


class StorageFull(MMSearchError):
    pass


class EncoderError(MMSearchError):
    pass


class MediaError(MMSearchError):
    """One file could not be decoded; ``str(error)`` is the reason kept in the catalog."""


class Unsupported(MediaError):
    pass


class Rejected(MediaError):
    pass


class Transient(MediaError):
    pass
