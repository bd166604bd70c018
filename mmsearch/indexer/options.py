"""How a run of the indexer walks and what it does, apart from the indexer: who only looks needs no more."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field


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
    isolate: bool = True
    """Decode in processes of their own: a file that crashes its decoder costs that file."""
