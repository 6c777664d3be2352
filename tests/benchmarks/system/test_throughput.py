"""How the costs of a run are divided."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from benchmarks.system.throughput import REEL_SIZE, PartTimer, write_reel


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


def test_a_reel_has_every_frame_of_its_videos_at_one_size(shared: Path, tmp_path: Path) -> None:
    path = shared / "data/videos/grid_bbaf2n.mpg"
    with av.open(str(path)) as video:
        count = sum(1 for _ in video.decode(video=0))
    with av.open(str(write_reel([path], tmp_path / "reel.mp4"))) as reel:
        sizes = [(frame.width, frame.height) for frame in reel.decode(video=0)]
    assert sizes == [REEL_SIZE] * count
