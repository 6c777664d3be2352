"""What the driver's loop does with segments and outcomes; its pools are lists, so no Ray starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
import ray

from tests.helpers.plans import title, video
from vcn_ray.distributed.books import Books
from vcn_ray.distributed.driver import MAX_TITLES, _Driver, _report_unfinished
from vcn_ray.distributed.pools import Adapted, Clustered, Outcome, Pools, StepFailed, Tracked
from vcn_ray.distributed.prometheus import RunMetrics
from vcn_ray.distributed.segments import SegmentRow
from vcn_ray.run.commit import ClusterDone, TrackDone
from vcn_ray.run.events import Event, Failed, RunLog, StepProgress
from vcn_ray.run.failures import Failure
from vcn_ray.run.parallel import Prefetch
from vcn_ray.run.plan import PlannedTitle, SegmentJob, TitlePlan, VideoPlan
from vcn_ray.run.planning import LookedUp
from vcn_ray.run.status import TitleStatus

LOST = Failure("a.mp4", "detect", 1, "decode_error", "no picture")


class Stream:
    """Segments that end as a story says: one row after the other, or an error."""

    def __init__(self, story: dict[str, str]) -> None:
        self.story = story  # reason of the failure, by video and index
        self.jobs: list[SegmentJob] = []
        self.rows: list[SegmentRow] = []
        self.error = ""
        self.raised = 0
        self.started = self.ended = self.over = False
        self.has_room = True

    @property
    def open(self) -> int:
        return len(self.rows)

    def start(self) -> None:
        self.started = True

    def end(self) -> None:
        self.ended = True

    def put(self, jobs: list[SegmentJob]) -> None:
        self.jobs += jobs
        for job in jobs:
            reason = self.story.get(f"{job.video_id}-{job.index}", "")
            self.rows.append(SegmentRow(0, job.video_id, job.uri, job.index, reason, "message"))

    def take(self) -> list[SegmentRow]:
        if self.error:
            self.over, self.raised = True, self.raised + 1
            raise RuntimeError(self.error)
        rows, self.rows = self.rows[:1], self.rows[1:]
        self.over = self.ended and not self.rows
        return rows


class Lists:
    """Pools that note what is started, and whose calls end at once, in order."""

    def __init__(self, **story: str) -> None:
        self.segments = Stream(story)
        self.started: list[str] = []
        self.failures: tuple[Failure, ...] = ()
        self.errors: dict[str, Exception] = {}  # by step and subject
        self._ended: list[Outcome] = []

    @property
    def busy(self) -> bool:
        return bool(self._ended)

    def track(self, plan: VideoPlan) -> None:
        self._end("track", plan.video_id, Tracked(plan.video_id, self._tracked()))

    def adapt(self, plan: TitlePlan, crops: int) -> None:
        assert crops == 5 * len(plan.videos)
        self._end("adapt", plan.title_id, Adapted(plan.title_id, None))

    def cluster(self, plan: TitlePlan) -> None:
        status = TitleStatus(
            plan.title, plan.title_id, plan.cluster_folder, 1, 1, 0, 0, 1.0, (), False
        )
        self._end("cluster", plan.title_id, Clustered(plan.title_id, ClusterDone(status, None)))

    def wait(self, seconds: float) -> Iterator[Outcome]:
        ended, self._ended = self._ended, []
        yield from ended

    def progress(self) -> dict[str, float]:
        return {}

    def _tracked(self) -> TrackDone:
        return TrackDone(self.failures, None, 5)

    def _end(self, step: str, subject: str, outcome: Outcome) -> None:
        self.started.append(f"{step} {subject}")
        error = self.errors.get(f"{step} {subject}")
        self._ended.append(StepFailed(step, subject, error) if error else outcome)


class Planned:
    """Planned titles that are all ready, and perhaps an error after them."""

    def __init__(self, plans: tuple[TitlePlan, ...], error: Exception | None) -> None:
        self.over = False
        self._plans = list(plans)
        self._error = error

    def take(self) -> LookedUp | None:
        if self._plans:
            plan = self._plans.pop(0)
            jobs = tuple(job for member in plan.videos for job in member.jobs())
            return LookedUp(PlannedTitle(plan, {}, ()), jobs=jobs)
        self.over = True
        if self._error:
            raise self._error
        return None


class Story:
    """One run of the driver over planned titles."""

    def __init__(self, pools: Lists, max_failures: int | None = None) -> None:
        self.events: list[Event] = []
        self.log = RunLog(self.events.append, inputs=9, max_failures=max_failures)
        self.books = Books()
        self.pools = pools
        self.gauges: dict[str, float] = {}

    def run(self, *plans: TitlePlan, error: Exception | None = None) -> Story:
        planned = cast(Prefetch[LookedUp], Planned(plans, error))
        metrics = cast(RunMetrics, self)
        pools = cast(Pools, self.pools)
        _Driver(self.books, pools, planned, self.log, metrics, "/out").run()
        return self

    def set(self, name: str, value: float) -> None:
        self.gauges[name] = value

    @property
    def failed(self) -> list[tuple[str, str, str]]:
        """Uri, step and reason of each failure."""
        return [(f.uri, f.step, f.reason) for f in self.log.failures]


def test_titles_are_tracked_adapted_and_clustered() -> None:
    a, b = video("a"), video("b")
    story = Story(Lists()).run(title("One", a), title("Two", a, b))
    assert [status.title for status in story.log.titles] == ["One", "Two"]
    assert [(job.video_id, job.index) for job in story.pools.segments.jobs] == [
        ("a", 0),
        ("a", 1),
        ("b", 0),
        ("b", 1),
    ]
    assert sorted(story.pools.started) == [
        "adapt one",
        "adapt two",
        "cluster one",
        "cluster two",
        "track a",
        "track b",
    ]
    assert (len(story.books), story.failed) == (0, [])
    assert story.gauges == {"vcn_videos_open": 0, "vcn_segments_open": 0}


def test_progress_of_a_video_ends_at_all_of_it() -> None:
    story = Story(Lists(**{"a-0": "timeout"})).run(title("One", video("a", segments=3)))
    shown = [e for e in story.events if isinstance(e, StepProgress) and e.step == "detect"]
    assert [(event.done, event.total) for event in shown] == [(1, 3), (3, 3)]


def test_a_segment_that_failed_for_now_closes_its_titles() -> None:
    a, copy, b = video("a"), video("a", uri="copy.mp4"), video("b")
    pools = Lists(**{"a-1": "timeout"})
    story = Story(pools).run(title("One", a), title("Two", copy, b), title("Three", b))
    assert [status.title for status in story.log.titles] == ["Three"]
    assert story.failed == [("a.mp4", "detect", "timeout"), ("copy.mp4", "detect", "timeout")]
    assert not [step for step in pools.started if step.endswith((" a", " one", " two"))]
    _report_unfinished(story.books, story.log)
    assert len(story.failed) == 2


def test_what_a_video_lacks_is_reported_for_each_copy_and_is_not_new() -> None:
    pools = Lists()
    pools.failures = (LOST,)
    story = Story(pools, max_failures=0).run(
        title("One", video("a")), title("Two", video("a", uri="copy.mp4"))
    )
    assert len(story.log.titles) == 2  # tracked by an earlier run: this one does not give up
    assert story.failed == [
        ("a.mp4", "detect", "decode_error"),
        ("copy.mp4", "detect", "decode_error"),
    ]


@pytest.mark.parametrize("step", ["track a", "adapt one", "cluster one"])
def test_a_step_that_fails_stops_no_other_title(step: str) -> None:
    pools = Lists()
    pools.errors[step] = OSError("the disk is gone")
    story = Story(pools).run(title("One", video("a")), title("Two", video("b")))
    assert [status.title for status in story.log.titles] == ["Two"]
    assert story.failed == [("a.mp4", step.split()[0], "storage_error")]
    assert len(story.books) == 0


def test_a_reducer_that_cannot_start_ends_the_run() -> None:
    pools = Lists()
    pools.errors["cluster one"] = ray.exceptions.ActorDiedError()
    story = Story(pools)
    with pytest.raises(ray.exceptions.ActorDiedError):
        story.run(title("One", video("a")), title("Two", video("b")))
    assert ("a.mp4", "cluster", "internal_error") in story.failed
    _report_unfinished(story.books, story.log)
    assert ("b.mp4", "detect", "internal_error") in story.failed


def test_a_stream_that_breaks_off_is_reported_once() -> None:
    pools = Lists()
    pools.segments.error = "segments broke off"
    story = Story(pools).run(title("One", video("a")))
    assert (pools.segments.raised, story.failed) == (1, [("/out", "detect", "internal_error")])
    _report_unfinished(story.books, story.log)
    assert story.failed[1:] == [("a.mp4", "detect", "internal_error")]


def test_titles_before_an_error_of_planning_are_finished() -> None:
    story = Story(Lists()).run(title("One", video("a")), error=OSError("the catalog is gone"))
    assert [status.title for status in story.log.titles] == ["One"]
    assert story.failed == [("/out", "plan", "internal_error")]
    assert "planning broke off: the catalog is gone" in story.log.failures[0].message


def test_a_run_gives_up_when_more_fail_than_may() -> None:
    pools = Lists(**{"a-0": "timeout"})
    story = Story(pools, max_failures=0).run(title("One", video("a")), title("Two", video("b")))
    assert story.log.gave_up
    assert story.log.titles == []
    assert [e.failure.uri for e in story.events if isinstance(e, Failed)] == ["a.mp4"]


def test_no_more_titles_are_open_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcn_ray.distributed.driver.MAX_TITLES", 2)
    story = Story(Lists())
    most: list[int] = []
    opened: Any = story.books.open_title

    def count(*args: Any) -> Any:
        due = opened(*args)
        most.append(len(story.books))
        return due

    monkeypatch.setattr(story.books, "open_title", count)
    story.run(*(title(f"T{number}", video(f"v{number}")) for number in range(9)))
    assert len(story.log.titles) == 9
    assert max(most) == 2 < MAX_TITLES
