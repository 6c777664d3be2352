"""Threads that work while the caller does something else; for work that mostly waits for storage.

All of them are daemons, which the threads of an executor are not: neither a caller that leaves nor
the end of the process waits for them.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

from vcn_ray.run.devices import count_cpus

S = TypeVar("S")
T = TypeVar("T")
U = TypeVar("U")

THREADS = min(8, 2 * count_cpus())
"""Videos, and titles, that are planned or compared in parallel: most of the time is waiting for
storage."""

POLL_SECONDS = 0.2  # until a writer that waits for room sees that nobody reads any more


def map_in_order(work: Callable[[T], U], items: Iterable[T], threads: int) -> Iterator[U]:
    """Call a function for each item in several threads, and yield the answers in order.

    A further thread reads the items, at most about twice as many ahead of the caller as there are
    calls in parallel. A caller that leaves early does not wait for running calls.

    Args:
        work: The function; an error that it raises is raised here in place of its answer.
        items: Its arguments; an error that they raise is raised here after all answers before it.
        threads: Calls in parallel, at most.
    """
    calls = _Calls(work, threads)
    threading.Thread(target=calls.feed, args=(items,), daemon=True).start()
    for _ in range(threads):
        threading.Thread(target=calls.serve, daemon=True).start()
    try:
        while (answer := calls.answers.get()) is not None:
            yield answer.result()
    finally:
        calls.stop(threads)


def map_shared(work: Callable[[S, T], U], shared: S, items: Iterable[T]) -> Iterator[U]:
    """Call `work(shared, item)` for each item in the threads of this machine, in order."""
    return map_in_order(partial(work, shared), items, THREADS)


class Prefetch(Generic[T]):
    """The items of an iterator, read ahead by a thread, for a caller that must never wait.

    Args:
        items: The iterator; an error that it raises is raised by `take`, after all items before it.
        ahead: Items that are read before they are taken, at most.

    Attributes:
        over: True once `take` has come to the end.
    """

    def __init__(self, items: Iterable[T], ahead: int) -> None:
        self.over = False
        self._pipe: _Pipe[Future[T] | None] = _Pipe(ahead)
        threading.Thread(target=_fill, args=(items, self._pipe), daemon=True).start()

    def take(self) -> T | None:
        """The next item; None where none is ready yet, and at the end."""
        if self.over or self._pipe.is_empty:
            return None
        item = self._pipe.get()
        self.over = item is None or item.exception() is not None
        return None if item is None else item.result()

    def close(self) -> None:
        """Read no more items."""
        self._pipe.close()


class _Pipe(Generic[T]):
    """A bounded queue from one thread to another; its writer stops once the reader has left."""

    def __init__(self, size: int) -> None:
        self._queue: queue.Queue[T] = queue.Queue(size)
        self._closed = threading.Event()

    def put(self, item: T) -> None:
        """Add an item as soon as there is room, or drop it once the reader has left."""
        while not self.is_closed:
            with suppress(queue.Full):
                self._queue.put(item, timeout=POLL_SECONDS)
                return

    def get(self) -> T:
        """The next item, as soon as there is one."""
        return self._queue.get()

    def close(self) -> None:
        """Note that the reader has left."""
        self._closed.set()

    @property
    def is_closed(self) -> bool:
        """True once the reader has left."""
        return self._closed.is_set()

    @property
    def is_empty(self) -> bool:
        """True where `get` would wait."""
        return self._queue.empty()


def _fill(items: Iterable[T], pipe: _Pipe[Future[T] | None]) -> None:
    try:
        for item in items:
            read: Future[T] = Future()
            read.set_result(item)
            pipe.put(read)
            if pipe.is_closed:
                break
    except BaseException as error:  # raised where items are taken
        pipe.put(_failed(error))
    else:
        pipe.put(None)


def _failed(error: BaseException) -> Future[T]:
    future: Future[T] = Future()
    future.set_exception(error)
    return future


class _Calls(Generic[T, U]):
    """Calls that wait for a thread, and answers that wait for the caller."""

    def __init__(self, work: Callable[[T], U], threads: int) -> None:
        self.answers: _Pipe[Future[U] | None] = _Pipe(2 * threads)
        self._work = work
        self._waiting: queue.SimpleQueue[tuple[Future[U], T] | None] = queue.SimpleQueue()

    def feed(self, items: Iterable[T]) -> None:
        """Have a call made for each item, as long as there is room for its answer."""
        try:
            for item in items:
                answer: Future[U] = Future()
                self._waiting.put((answer, item))
                self.answers.put(answer)
                if self.answers.is_closed:
                    break
        except BaseException as error:  # raised where answers are taken
            self.answers.put(_failed(error))
        self.answers.put(None)

    def serve(self) -> None:
        """Make calls until there are none."""
        while (call := self._waiting.get()) is not None:
            answer, item = call
            if self.answers.is_closed or not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(self._work(item))
            except BaseException as error:  # raised where answers are taken
                answer.set_exception(error)

    def stop(self, threads: int) -> None:
        """Make no more calls."""
        self.answers.close()
        for _ in range(threads):
            self._waiting.put(None)
