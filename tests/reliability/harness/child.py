"""One run of the real indexer in a process of its own, forked from one that has imported everything."""

from __future__ import annotations

import gc
import json
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mmsearch import Library
from mmsearch.encoders.fake import FakeEncoder
from mmsearch.indexer import ingest
from mmsearch.indexer.summary import Summary
from mmsearch.media.decode import pieces
from mmsearch.store import artifacts
from mmsearch.types import Modality

from .faults import FAULTS
from .steps import Log, Steps

HANG_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a child does. ``kill_at`` is a label and its passing; ``kill_after`` seconds, by the parent."""

    library: str
    tree: bytes
    op: str = "index"
    model: str = "fake"
    kind: str = "exact"
    publish_above: int = 0
    fault: str | None = None
    kill_at: tuple[str, int] | None = None
    kill_after: float | None = None


@dataclass(slots=True)
class Outcome:
    """What became of it. ``acknowledged`` files were reported by the progress callback before the end."""

    killed: str | None = None
    done: dict[str, Any] | None = None
    error: str | None = None
    acknowledged: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def forked(work: Callable[[], None], kill_after: float | None = None) -> int:
    """Run ``work`` in a fork; returns the wait status."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            signal.alarm(HANG_S)
            gc.freeze()
            work()
            code = 0
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def ask(work: Callable[[], Any], path: str) -> Any:
    """The result of ``work`` in a fresh process."""

    def run() -> None:
        try:
            result = work()
        except BaseException:
            result = RuntimeError(traceback.format_exc())
        with open(path, "wb") as file:
            pickle.dump(result, file)

    forked(run)
    with open(path, "rb") as file:
        result = pickle.load(file)
    if isinstance(result, BaseException):
        raise result
    return result


def run(job: Job, log_path: str) -> Outcome:
    """Run a job in a child; its log says how far it came."""
    if os.path.exists(log_path):
        os.unlink(log_path)
    started = time.perf_counter()
    status = forked(lambda: _work(job, log_path), job.kill_after)
    outcome = Outcome(seconds=time.perf_counter() - started)
    if os.path.exists(log_path):
        with open(log_path) as file:
            _read(outcome, [json.loads(line) for line in file])
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, f"signal {os.WTERMSIG(status)}: hung? {job}"
        outcome.killed = outcome.killed or "random time"
    else:
        assert outcome.killed is None, f"the kill at {outcome.killed} did not land"
    return outcome


def _read(outcome: Outcome, lines: list[dict[str, Any]]) -> None:
    for line in lines:
        outcome.killed = line.get("killed", outcome.killed)
        outcome.error = line.get("error", outcome.error)
        outcome.acknowledged = line.get("acknowledged", outcome.acknowledged)
        outcome.labels = line.get("labels", outcome.labels)
        outcome.done = line.get("done", outcome.done)


def _work(job: Job, log_path: str) -> None:
    log = Log(log_path)
    encoded = _shrink(job.publish_above)
    if job.fault:
        FAULTS[job.fault].plant()
    steps = Steps(log, job.kill_at)
    steps.install()
    try:
        done = _perform(job, log)
    except Exception:
        log(error=traceback.format_exc(), labels=steps.counts)
    else:
        log(done={**done, "encoded": encoded[0]}, labels=steps.counts)


def _perform(job: Job, log: Log) -> dict[str, Any]:
    library = Library(job.library)
    match job.op:
        case "index":

            def heard(summary: Summary) -> None:
                log(acknowledged=summary.added + summary.updated + summary.reused)

            # No decoding processes: 10,000 runs would each wait for them, and they hold nothing that a kill could lose.
            options = ingest.Options(decode=pieces)
            summary = library.index(
                [job.tree], model=job.model, index=job.kind, device="cpu", options=options, progress=heard
            )
            return {**summary.counts(), "seen": summary.seen, "offline": len(summary.offline)}
        case "repair":
            return {"lines": library.repair()}
        case "gc":
            return {"lines": library.gc()}
        case "prune":
            return {"pruned": len(library.prune())}
    raise AssertionError(job.op)


def _shrink(publish_above: int) -> list[int]:
    """Small batches, so that few files make many steps; returns the count of pictures that get encoded."""
    ingest.COMMIT_ROWS, ingest.BATCH, ingest.WINDOW, ingest.LISTED = 6, 4, 8, 9
    artifacts.SCANNED, artifacts.STALE = publish_above, 0.0
    encoded, encode = [0], FakeEncoder.encode

    def counted(self: FakeEncoder, batch: Any, modality: Modality) -> Any:
        encoded[0] += len(batch) if modality is Modality.IMAGE else 0  # a new space also encodes its yardstick's words
        return encode(self, batch, modality)

    FakeEncoder.encode = counted  # type: ignore[method-assign]
    return encoded
