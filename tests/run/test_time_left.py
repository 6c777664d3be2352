from __future__ import annotations

import pytest

from vcn_ray.run.events import StepProgress, TitleDone, TitlePlanned, WorkDone
from vcn_ray.run.ledger import Work
from vcn_ray.run.status import TitleStatus
from vcn_ray.run.time_left import ASSUMED_ADAPT, TimeLeft
from vcn_ray.steps import StepName


class Run:
    """A run whose steps take as long as they say, one after another or side by side."""

    def __init__(self, side_by_side: int = 1) -> None:
        self.time = 0.0
        self.left = TimeLeft(lambda: self.time)
        self._side_by_side = side_by_side

    def plan(self, title: str, seconds: float) -> None:
        self.left(TitlePlanned(title, seconds, (f"{title}-video",)))

    def work(self, step: StepName, subject: str, seconds: float, video: float, faces: int) -> None:
        self.time += seconds / self._side_by_side
        done = Work(step, subject, seconds, 0.0, video_seconds=video, faces=faces)
        self.left(WorkDone(done))

    def finish(self, title: str) -> None:
        status = TitleStatus(title, title, "", 0, 0, 0, 0, 0.0, (), reused=False)
        self.left(TitleDone(status))


def test_nothing_is_known_before_the_first_segment() -> None:
    run = Run()
    assert run.left.seconds() is None
    run.plan("a", 100.0)
    assert run.left.seconds() is None


def test_open_video_takes_as_long_as_detected_video() -> None:
    run = Run()
    run.plan("a", 100.0)
    run.work("detect", "a-video", 5.0, 25.0, faces=0)
    assert run.left.seconds() == pytest.approx(15.0)
    run.work("detect", "a-video", 15.0, 75.0, faces=0)
    assert run.left.seconds() == 0.0  # nobody is there, so nothing has to be adapted


def test_titles_without_faces_take_less() -> None:
    run = Run()
    for title in ("full", "empty", "next"):
        run.plan(title, 100.0)
    run.work("detect", "full-video", 20.0, 100.0, faces=400)
    assert run.left.seconds() == pytest.approx(40 + 3 * 20 * ASSUMED_ADAPT)
    run.work("adapt", "full", 40.0, 100.0, faces=0)  # a tenth of a second for each face
    run.finish("full")
    run.work("detect", "empty-video", 20.0, 100.0, faces=0)
    assert run.left.seconds() == pytest.approx(20 + 200 * 0.1)  # two faces a second, on average


def test_steps_side_by_side_end_sooner() -> None:
    run = Run(side_by_side=4)
    run.plan("a", 100.0)
    for _ in range(20):
        run.work("detect", "a-video", 8.0, 2.5, faces=0)
    assert run.left.seconds() == pytest.approx(20 * 8 / 4, rel=0.2)


def test_a_title_that_is_adapted_has_less_and_less_left() -> None:
    run = Run(side_by_side=2)
    run.plan("a", 100.0)
    for _ in range(10):
        run.work("detect", "a-video", 8.0, 10.0, faces=10)
    run.work("track", "a-video", 0.0, 100.0, faces=0)
    before = run.left.seconds()
    assert before is not None
    assert before == pytest.approx(80 * ASSUMED_ADAPT, rel=0.1)  # one title: one step at a time
    run.time += 30
    assert run.left.seconds() == pytest.approx(before - 30)
    run.time += 70  # later than expected, but not at its end
    assert run.left.seconds() == pytest.approx(10)
    run.work("adapt", "a", 100.0, 100.0, faces=0)
    run.finish("a")
    assert run.left.seconds() == 0.0


def test_an_unread_part_of_the_catalog_counts() -> None:
    run = Run()
    run.left(StepProgress("plan", "", 1, 4))
    run.plan("a", 100.0)
    run.work("detect", "a-video", 5.0, 50.0, faces=0)
    assert run.left.seconds() == pytest.approx(4 * 5.0)
