"""Labelled steps of a run, wrapped around the real functions from outside, and a SIGKILL at one of them.

Production code has no hooks for this: a label sits before or after a function of `os`, of the catalog or of the
publication, and inside SQLite between two instructions of its virtual machine.
"""

from __future__ import annotations

import functools
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event

from mmsearch.store import artifacts, catalog, layout, migrations, roots, rows
from mmsearch.store.catalog import Catalog

_write = os.write  # the log must not run through its own labels

MUTATORS = (
    "set", "space", "start_run", "finish_run", "compare", "write_batch", "mark_gone", "next_generation",
    "add_artifact", "drop_artifacts", "rebuild_words", "drop_vectors", "drop_space", "activate",
)  # fmt: skip
INSERTS = ("delete_items", "insert_items", "insert_segments", "insert_embeddings", "touch")
SYSTEM = ("replace", "rename", "fsync", "write", "unlink", "mkdir")


class Log:
    """What a run tells before it dies: lines in a file, each written at once."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __call__(self, **fields: object) -> None:
        _write(self._fd, json.dumps(fields).encode() + b"\n")


class Steps:
    """Counts the labels that a run passes, and kills it at the n-th passing of one."""

    def __init__(self, log: Log, target: tuple[str, int] | None) -> None:
        self.counts: Counter[str] = Counter()
        self._log, self._target = log, target
        self._doing = ["open"]

    def at(self, label: str) -> None:
        self.counts[label] += 1
        if self._target == (label, self.counts[label]):
            self._log(killed=label)
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        for name in SYSTEM:
            self._around(os, name, f"os.{name}")
        self._tear_writes()
        for name in MUTATORS:
            self._name_transactions(Catalog, name)
        for name in ("claim", "set_offline", "prune"):
            self._name_transactions(roots, name)
        self._label_commits()
        for name in INSERTS:
            self._around(rows, name, f"write_batch {name}")
        self._around(artifacts, "publish", "publish")
        self._around(artifacts, "drop_old", "drop_old")
        self._around(catalog, "_fill_newborn", "create fill")
        self._around(layout, "create", "create")
        self._around(catalog, "migrate", "migrate")
        migrations.MIGRATIONS = tuple(self._wrapped(step, f"migrate {step.__name__}") for step in migrations.MIGRATIONS)
        self._label_statements()

    def _wrapped(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **options: Any) -> Any:
            self.at(f"{label}: before")
            result = function(*args, **options)
            self.at(f"{label}: after")
            return result

        return wrapper

    def _around(self, owner: Any, name: str, label: str) -> None:
        setattr(owner, name, self._wrapped(getattr(owner, name), label))

    def _name_transactions(self, owner: Any, name: str) -> None:
        function = getattr(owner, name)

        @functools.wraps(function)
        def wrapper(*args: Any, **options: Any) -> Any:
            self._doing.append(name)
            try:
                return function(*args, **options)
            finally:
                self._doing.pop()

        setattr(owner, name, wrapper)

    def _label_commits(self) -> None:
        original = Catalog.transaction

        @contextmanager
        def transaction(self_: Catalog) -> Iterator[Connection]:
            doing = self._doing[-1]
            with original(self_) as connection:
                yield connection
                self.at(f"commit {doing}: before")
            self.at(f"commit {doing}: after")

        Catalog.transaction = transaction  # type: ignore[method-assign]

    def _tear_writes(self) -> None:
        whole = os.write

        def torn(descriptor: int, data: Any) -> int:
            if self._target == ("os.write: torn", self.counts["os.write: torn"] + 1):
                _write(descriptor, bytes(data)[: len(data) // 2])
            self.at("os.write: torn")
            return whole(descriptor, data)

        os.write = torn

    def _label_statements(self) -> None:
        @event.listens_for(Engine, "connect")
        def connected(connection: Any, _: object) -> None:
            connection.set_progress_handler(lambda: self.at("sqlite: mid-statement"), 100)
