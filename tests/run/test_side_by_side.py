"""Several calls at a time, their answers in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import pytest

from vcn_ray.run.side_by_side import map_in_order


def test_answers_come_in_the_order_of_the_items() -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0.0)
        return number * number

    assert list(map_in_order(slow_at_first, range(50), 4)) == [n * n for n in range(50)]
    assert list(map_in_order(slow_at_first, [], 4)) == []


def test_calls_are_made_side_by_side_but_no_more_than_told() -> None:
    there = threading.Semaphore(0)
    under_way: list[int] = []
    most: list[int] = []

    def wait_for_three(number: int) -> int:
        under_way.append(number)
        most.append(len(under_way))
        there.release()
        if number < 3:
            for _ in range(100):  # until the others are there, too
                if len(most) >= 3:
                    break
                time.sleep(0.01)
        under_way.remove(number)
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


def test_what_is_raised_is_raised_in_its_turn() -> None:
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


def test_who_leaves_does_not_wait() -> None:
    release = threading.Event()
    answers = map_in_order(lambda n: n if n == 0 else release.wait(30), range(10), 2)
    began = time.monotonic()
    with closing(cast(Any, answers)):
        assert next(answers) == 0
    assert time.monotonic() - began < 5
    release.set()
