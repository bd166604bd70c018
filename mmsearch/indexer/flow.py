"""Files on their way from the threads that read and decode to the loop that encodes: in order, in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from queue import Empty, Full, Queue

from mmsearch.indexer.prepare import Prepared
from mmsearch.media.pieces import Ending, Piece, Pieces
from mmsearch.store.catalog import Known

AHEAD = 4
"""Pieces of one file decoded ahead."""

_POLL_S = 0.1


class Flow:
    """The pieces of one file: a thread pumps them in, the loop iterates over them; ``ending`` is set after the last."""

    def __init__(self, closed: threading.Event) -> None:
        self._queue: Queue[Piece | Ending | BaseException] = Queue(AHEAD)
        self._closed = closed
        self.ending: Ending | None = None

    def pump(self, pieces: Pieces) -> None:
        """Put all pieces in, waiting for room; ends early when nobody wants them any more."""
        try:
            while self._put(next(pieces)):
                pass
        except StopIteration as stop:
            self._put(stop.value)
        except BaseException as error:  # the loop raises it, whatever it is
            self._put(error)
        finally:
            pieces.close()

    def _put(self, item: Piece | Ending | BaseException) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
            except Full:
                continue
            return True
        return False

    def __iter__(self) -> Iterator[Piece]:
        """Raises what the decoder raised. Ends without an ``ending`` if the threads were told to stop."""
        while True:
            try:
                item = self._queue.get(timeout=_POLL_S)
            except Empty:
                if self._closed.is_set():
                    return
                continue
            if isinstance(item, Ending):
                self.ending = item
                return
            if isinstance(item, BaseException):
                raise item
            yield item


def flow(
    prepare: Callable[[Known], Prepared], work: Iterable[Known], workers: int, ahead: int, closed: threading.Event
) -> Generator[Prepared]:
    """Prepare files on ``workers`` threads, ``ahead`` of them ahead, in the order in which they are listed.

    A thread stays with its file until all pieces of it are taken. The file that the loop waits for was begun before all
    later ones, so it never waits for a thread that a later one holds. ``closed`` is set at the end, so that the threads
    end too.
    """

    def run(known: Known, answer: Future[Prepared]) -> None:
        try:
            prepared = prepare(known)
        except BaseException as error:
            answer.set_exception(error)
            return
        if prepared.pieces is None:
            answer.set_result(prepared)
            return
        pieces, found = prepared.pieces, Flow(closed)
        answer.set_result(replace(prepared, pieces=None, flow=found))
        del prepared
        found.pump(pieces)

    window: deque[Future[Prepared]] = deque()
    pool = ThreadPoolExecutor(workers, "decode")
    try:
        for known in work:
            answer: Future[Prepared] = Future()
            window.append(answer)
            pool.submit(run, known, answer)
            if len(window) >= ahead:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        closed.set()
        pool.shutdown(cancel_futures=True)
