"""Several rankings as one: reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009).

Scores of different spaces mean different things, so only ranks are added: an item gets ``1 / (K + rank)`` from every
ranking that has it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

K = 60
"""The constant of the paper: how little the very first places count more than those after them."""

Key = TypeVar("Key", bound=Hashable)


def fuse(rankings: Mapping[str, Sequence[Key]]) -> list[tuple[Key, float, tuple[str, ...]]]:
    """The keys of all rankings, best first, each with its sum and the names of the rankings that have it.

    Equal sums keep the order of the first ranking that has them.
    """
    sums: defaultdict[Key, float] = defaultdict(float)
    found: defaultdict[Key, tuple[str, ...]] = defaultdict(tuple)
    for name, ranking in rankings.items():
        for rank, key in enumerate(ranking, 1):
            sums[key] += 1 / (K + rank)
            found[key] += (name,)
    return [(key, sums[key], found[key]) for key in sorted(sums, key=sums.__getitem__, reverse=True)]
