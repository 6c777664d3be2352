"""A bounded number of calls at a time, their answers in order; for work that waits for storage."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")

POLL_SECONDS = 0.2  # until who waits for room sees that nobody takes answers any more


def map_in_order(work: Callable[[T], U], items: Iterable[T], at_a_time: int) -> Iterator[U]:
    """Call a function for each item, several at a time, and give the answers in order.

    Items are asked for in a thread of their own, some twice as many ahead of who takes the answers
    as are called at a time. Who stops taking does not wait for calls under way, and neither does
    the end of the process: the threads are daemons, which an executor's are not.

    Args:
        work: Is called in threads; what it raises is raised here, in its turn.
        items: What to call it for; what this raises is raised here after all answers before.
        at_a_time: Calls under way.
    """
    calls = _Calls(work, at_a_time)
    threading.Thread(target=calls.feed, args=(items,), daemon=True).start()
    for _ in range(at_a_time):
        threading.Thread(target=calls.serve, daemon=True).start()
    try:
        while (answer := calls.answers.get()) is not None:
            yield answer.result()
    finally:
        calls.stop(at_a_time)


class _Calls(Generic[T, U]):
    """What waits to be called, and what waits to be taken."""

    def __init__(self, work: Callable[[T], U], at_a_time: int) -> None:
        self.answers: queue.Queue[Future[U] | None] = queue.Queue(2 * at_a_time)
        self._work = work
        self._waiting: queue.SimpleQueue[tuple[Future[U], T] | None] = queue.SimpleQueue()
        self._stopped = threading.Event()

    def feed(self, items: Iterable[T]) -> None:
        """Have a call made for each item, as long as there is room for its answer."""
        try:
            for item in items:
                answer: Future[U] = Future()
                self._waiting.put((answer, item))
                self._put(answer)
                if self._stopped.is_set():
                    break
        except BaseException as error:  # raised where answers are taken
            broken: Future[U] = Future()
            broken.set_exception(error)
            self._put(broken)
        self._put(None)

    def serve(self) -> None:
        """Make calls until there are none."""
        while (call := self._waiting.get()) is not None:
            answer, item = call
            if self._stopped.is_set() or not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(self._work(item))
            except BaseException as error:  # raised where answers are taken
                answer.set_exception(error)

    def stop(self, threads: int) -> None:
        """Make no more calls."""
        self._stopped.set()
        for _ in range(threads):
            self._waiting.put(None)

    def _put(self, answer: Future[U] | None) -> None:
        while not self._stopped.is_set():
            with suppress(queue.Full):
                self.answers.put(answer, timeout=POLL_SECONDS)
                return
