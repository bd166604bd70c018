"""How much memory the processes that decode may take: all together at most half of what there is."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple

from mmsearch.media.worker import MEMORY

LEAST = 768 * 1024**2
"""Bytes of address space that a process needs for an ordinary file; the libraries alone map 0.5 GB. A machine with
less than 4 GB of memory gives its decoders more than half of it."""


class Share(NamedTuple):
    """Bytes of address space for ``each`` process, of which at most ``most`` wait for work, and for one that is
    started for a file that needs more, ``alone``; None: each has all that any may have.
    """

    each: int
    alone: int | None
    most: int = 64


def share(total: int | None = None, threads: int | None = None) -> Share:
    """For ``threads`` that decode at once, and the loop that waits for them, on a machine of ``total`` bytes."""
    half = (total or installed()) // 2
    processes = (threads or os.cpu_count() or 1) + 1
    if processes * MEMORY <= half:
        return Share(MEMORY, None, processes)
    alone = min(MEMORY, max(half - processes * LEAST, LEAST))
    return Share(min(MEMORY, max(LEAST, (half - alone) // processes)), alone, processes)


def installed() -> int:
    """Bytes of memory that this process and its children may use: the machine's, or its container's."""
    found = [4 * 1024**3]
    with suppress(ValueError, OSError, AttributeError):
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError, ValueError), open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
        found.append(int(file.read()))
    return min(found)
