"""What a run of the indexer did, counted so that it adds up."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmsearch.types import Failure, State


@dataclass(slots=True)
class Summary:
    """Every file seen is counted once: ``seen`` is the sum of the other counts.

    ``missing`` counts files that the catalog knows and that are gone; what lies below an offline folder is not
    seen at all.
    """

    added: int = 0
    updated: int = 0
    reused: int = 0
    """New names for known content (a rename or a copy): its vectors were taken over."""
    unchanged: int = 0
    missing: int = 0
    partial: int = 0
    rejected: int = 0
    transient: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)
    offline: list[bytes] = field(default_factory=list)
    skip_reasons: dict[str, int] = field(default_factory=dict)
    interrupted: bool = False
    seconds: float = 0.0
    model: str = ""
    space: str = ""
    device: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def seen(self) -> int:
        return sum(self.counts().values())

    @property
    def searchable(self) -> int:
        """How many of the files seen can be found now."""
        return self.added + self.updated + self.reused + self.unchanged + self.partial

    def counts(self) -> dict[str, int]:
        """The counts by name, in the order in which they are shown."""
        names = ("added", "updated", "reused", "unchanged", "missing", "partial", "rejected", "transient", "skipped")
        return {name: getattr(self, name) for name in names}

    def add(self, path: bytes, state: State, reason: str | None) -> None:
        """Count a file that did not end ``ok``."""
        setattr(self, state.value, getattr(self, state.value) + 1)
        if state is State.SKIPPED:
            self.skip_reasons[reason or ""] = self.skip_reasons.get(reason or "", 0) + 1
        elif state is not State.MISSING:
            self.failures.append(Failure(path, state, reason or ""))
