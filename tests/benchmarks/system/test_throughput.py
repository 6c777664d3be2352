"""How the costs of a run are divided."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from benchmarks.system.throughput import PartTimer


def compute(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_the_time_of_a_part_excludes_that_of_parts_inside_it() -> None:
    timer = PartTimer()
    inner = timer.timed("inner", compute)
    with timer.part("outer"):
        compute(0.05)
        inner(0.2)
    assert timer.seconds["inner"] == pytest.approx(0.2, abs=0.04)
    assert timer.seconds["outer"] == pytest.approx(0.05, abs=0.04)


def test_only_the_steps_of_a_generator_are_counted() -> None:
    timer = PartTimer()

    def items() -> Iterator[int]:
        for number in (1, 2):
            compute(0.05)
            yield number

    found = []
    for number in timer.timed_steps("items", items)():
        compute(0.1)
        found.append(number)
    assert found == [1, 2]
    assert timer.seconds["items"] == pytest.approx(0.1, abs=0.04)
