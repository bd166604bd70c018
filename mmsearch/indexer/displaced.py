"""Contents whose file was overwritten in this run: they may stand under another name that has not come yet.

Photos that are numbered anew swap their contents. What a commit takes from the catalog in the middle of that is kept
here until the run ends, so that it is not encoded again.
"""

from __future__ import annotations

from collections.abc import Callable

from mmsearch.store.reader import Donation

VECTORS = 16_384
"""Kept at most: 32 MB of 512 numbers. The oldest go first."""


class Displaced:
    """Donations by the sha256 of their content. One thread keeps, any may ask."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[bytes, Donation]] = {}
        self._vectors = 0

    def keep(self, sha256: bytes, path: bytes, donation: Donation) -> None:
        if sha256 in self._kept or len(donation.vectors) > VECTORS:
            return
        self._kept[sha256] = path, donation
        self._vectors += len(donation.vectors)
        while self._vectors > VECTORS:
            self._vectors -= len(self._kept.pop(next(iter(self._kept)))[1].vectors)

    def get(self, sha256: bytes, fits: Callable[[str, bytes], bool]) -> Donation | None:
        """What was kept of this content, if it ``fits`` by modality and path."""
        path, donation = self._kept.get(sha256, (b"", None))
        return donation if donation is not None and fits(donation.modality, path) else None
