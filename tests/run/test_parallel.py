"""Calls in several threads with their answers in order, and items that are read ahead."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import pytest

from vcn_ray.run.parallel import Prefetch, map_in_order


def test_answers_come_in_the_order_of_the_items() -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0.0)
        return number * number

    assert list(map_in_order(slow_at_first, range(50), 4)) == [n * n for n in range(50)]
    assert list(map_in_order(slow_at_first, [], 4)) == []


def test_calls_run_in_parallel_but_no_more_than_asked_for() -> None:
    there = threading.Semaphore(0)
    running: list[int] = []
    most: list[int] = []

    def wait_for_three(number: int) -> int:
        running.append(number)
        most.append(len(running))
        there.release()
        if number < 3:
            for _ in range(100):  # until the others are there, too
                if len(most) >= 3:
                    break
                time.sleep(0.01)
        running.remove(number)
        return number

    assert list(map_in_order(wait_for_three, range(20), 3)) == list(range(20))
    assert max(most) == 3


def test_an_answer_does_not_wait_for_items_after_it() -> None:
    asked = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        asked.wait(30)
        yield 2

    answers = map_in_order(lambda number: number, items(), 4)
    assert next(answers) == 1
    asked.set()
    assert list(answers) == [2]


def test_items_are_not_asked_for_far_ahead() -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            asked.append(number)
            yield number

    answers = map_in_order(lambda number: number, items(), 2)
    for taken in range(10):
        assert next(answers) == taken
    time.sleep(0.1)
    assert len(asked) <= 10 + 2 * 2 + 2
    cast(Any, answers).close()
    time.sleep(0.5)
    assert len(asked) <= 10 + 2 * 2 + 3


def test_an_error_is_raised_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise OSError("no more items")

    def work(number: int) -> int:
        if number == 5:
            raise KeyError("five")
        return number

    answers = map_in_order(work, items(), 2)
    assert [next(answers) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="no more items"):
        next(answers)
    answers = map_in_order(work, range(10), 2)
    assert [next(answers) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(KeyError, match="five"):
        next(answers)


def test_a_caller_that_leaves_does_not_wait() -> None:
    release = threading.Event()
    answers = map_in_order(lambda n: n if n == 0 else release.wait(30), range(10), 2)
    began = time.monotonic()
    with closing(cast(Any, answers)):
        assert next(answers) == 0
    assert time.monotonic() - began < 5
    release.set()


def test_items_are_read_ahead_without_waiting() -> None:
    release = threading.Event()
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            yield number
            if number == 9:
                release.wait(30)

    ahead = Prefetch(items(), 3)
    taken = [wait_for_item(ahead) for _ in range(10)]
    assert taken == list(range(10))
    assert (ahead.take(), ahead.over) == (None, False)  # the next item is not there yet
    release.set()
    assert wait_for_item(ahead) == 10
    time.sleep(0.1)
    assert len(read) <= 11 + 3 + 1
    ahead.close()
    time.sleep(0.5)
    assert len(read) <= 11 + 3 + 2


def test_the_end_of_prefetched_items_is_known_once_it_is_taken() -> None:
    ahead = Prefetch([7], 3)
    assert (wait_for_item(ahead), ahead.over) == (7, False)
    for _ in range(100):
        if ahead.over:
            break
        assert ahead.take() is None
        time.sleep(0.01)
    assert ahead.over
    assert ahead.take() is None


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise OSError("no more items")

    ahead = Prefetch(items(), 2)
    assert [wait_for_item(ahead) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="no more items"):
        wait_for_item(ahead)
    assert (ahead.over, ahead.take()) == (True, None)


def wait_for_item(ahead: Prefetch[int]) -> int:
    """The next item, as soon as it is read."""
    for _ in range(1000):
        item = ahead.take()
        if item is not None:
            return item
        time.sleep(0.01)
    raise AssertionError("no item was read within ten seconds")
