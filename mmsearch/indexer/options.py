"""How a run of the indexer walks and what it does, apart from the indexer: who only looks needs no more."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmsearch.media.files import Source
    from mmsearch.media.pieces import Pieces
    from mmsearch.types import EncoderSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to walk and what to do; see `mmsearch index --help`."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    follow_links: bool = False
    dry_run: bool = False
    retry: bool = False
    """Look again at files that were rejected or skipped before."""
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    decode: Callable[[Source, EncoderSpec], Pieces] | None = None
    """Instead of the processes that decode; for tests of what has nothing to do with them."""
