"""A run on a Ray cluster: the loop that connects the planner, the books and the pools.

It keeps no results and asks storage for nothing: the planner's threads look up what is missing, and
calls on the cluster return what they have committed. Memory does not grow with the catalog: the
titles in progress are bounded, and a closed title leaves a line for the record of the run.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import cast

import ray

from vcn_ray.config import RunConfig
from vcn_ray.distributed.books import Books, Due, OpenVideo
from vcn_ray.distributed.pools import (
    Adapted,
    Clustered,
    Mended,
    Outcome,
    Pools,
    StepFailed,
    Tracked,
    VideoMended,
)
from vcn_ray.distributed.prometheus import RunMetrics
from vcn_ray.distributed.segments import SegmentRow
from vcn_ray.distributed.session import cluster
from vcn_ray.errors import DamagedError, Reason
from vcn_ray.io.storage import Storage, one_line
from vcn_ray.run.damage import MAX_REDONE
from vcn_ray.run.events import RunLog, StepProgress
from vcn_ray.run.failures import Failure, failure_of
from vcn_ray.run.parallel import Prefetch
from vcn_ray.run.planning import LookedUp, log_planned
from vcn_ray.steps import ADAPT, CLUSTER, DETECT, TRACK

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
AHEAD = 4  # planned titles that wait for room
SETTLE_SECONDS = 5.0  # for which segment workers wait for the end of a short catalog
MAX_TITLES = 500  # in progress: once faces are found, more titles wait for a trainer than finish


def run_catalog(
    titles: Iterator[LookedUp], config: RunConfig, storage: Storage, run_id: str, run_log: RunLog
) -> None:
    """Run every step of a catalog that is not finished yet, on Ray.

    Args:
        titles: The catalog; it is planned while titles before are in progress.
        config: Settings of the run.
        storage: Where results go; every node must be able to write there.
        run_id: Name of this run.
        run_log: Receives all events; a failure of one title never stops another.

    Raises:
        UsageError: The settings ask for more than the machine has.
    """
    with cluster(config.resources):
        metrics = RunMetrics(run_id)
        run_log.watch(metrics)
        books = Books()
        try:
            with (
                closing(Pools(config, storage.uri, run_id)) as pools,
                closing(Prefetch(titles, AHEAD)) as planned,
            ):
                _Driver(books, pools, planned, run_log, metrics, storage.uri).run()
        except ray.exceptions.RayError as error:  # an actor of the run cannot be started any more
            log.debug("the run broke off", exc_info=True)
            run_log.fail(
                _broken(storage.uri, CLUSTER.name, f"the run broke off: {one_line(error)}")
            )
        if not run_log.gave_up:
            _report_unfinished(books, run_log)


@dataclass(slots=True, eq=False)
class _Driver:
    books: Books
    pools: Pools
    planned: Prefetch[LookedUp]
    run_log: RunLog
    metrics: RunMetrics
    output: str
    _planning: bool = True  # titles may still come
    _began: float = field(default_factory=time.monotonic)
    _redone: Counter[str] = field(default_factory=Counter)  # by id of the video or title

    def run(self) -> None:
        """Hand out work until there is none, or too much has failed."""
        while self._in_progress and not self.run_log.gave_up:
            self._open_titles()
            self._start_workers()
            self._take_segments()
            for outcome in self.pools.wait(POLL_SECONDS):
                self._take_outcome(outcome)
            self._report_progress()

    @property
    def _in_progress(self) -> bool:
        return self._planning or not self.pools.segments.over or self.pools.busy

    @property
    def _has_room(self) -> bool:
        return self.pools.segments.has_room and len(self.books) < MAX_TITLES

    def _open_titles(self) -> None:
        """Open titles that are planned, for a moment, while there is room for them."""
        until = time.monotonic() + POLL_SECONDS
        while self._planning and self._has_room and time.monotonic() < until:
            looked = self._next_planned()
            if looked is None or not log_planned(looked, self.run_log):
                return
            if looked.title:
                due = self.books.open_title(looked.title, looked.jobs)
                self._start(due, new_failures=False)

    def _next_planned(self) -> LookedUp | None:
        """A planned title; None where none is ready, or planning has ended."""
        try:
            looked = self.planned.take()
        except Exception as error:  # titles in progress can still finish
            log.debug("planning broke off", exc_info=True)
            self._fail_run("plan", f"planning broke off: {one_line(error)}")
            looked = None
        if self.planned.over:
            self._planning = False
            self.pools.segments.end()
        return looked

    def _start_workers(self) -> None:
        """Start segment workers once a short catalog is known as a whole: it may need fewer."""
        stream = self.pools.segments
        settled = time.monotonic() - self._began > SETTLE_SECONDS or not stream.has_room
        if not stream.started and (not self._planning or (settled and stream.open)):
            stream.start()

    def _take_segments(self) -> None:
        if self.pools.segments.over:  # one that broke off says so once
            return
        try:
            rows = self.pools.segments.take()
        except RuntimeError as error:
            self._planning = False
            self._fail_run(DETECT.name, one_line(error))
            return
        for row in rows:
            self._take_segment(row)

    def _take_segment(self, row: SegmentRow) -> None:
        """Enter a segment that has ended; one that failed closes the titles that contain it."""
        video = self.books.video(row.video_id)
        self.run_log.count(row.work)
        for failure in _failures_of(row, video):
            self.run_log.fail(failure)
        due = self.books.end_segment(row.video_id, row.segment, committed=not row.reason)
        if video is None:  # its titles are closed
            return
        self._show(video, video.ended)
        if row.reason:
            self._close(sorted(video.titles))
        self._start(due)

    def _take_outcome(self, outcome: Outcome) -> None:
        match outcome:
            case Tracked(video_id, done):
                self.run_log.count(done.work)
                due = self.books.end_tracking(video_id, done.failures, done.crops)
                self._start(due, new_failures=done.work is not None)
            case Adapted(title_id, work):
                self.run_log.count(work)
                if title := self.books.title(title_id):
                    self.pools.cluster(title)
            case Clustered(title_id, result):
                self.run_log.count(result.work)
                self.run_log.finish(result.status)
                self._close([title_id])
            case VideoMended() | Mended():
                self._take_mended(outcome)
            case StepFailed(step, subject, error):
                if not (isinstance(error, DamagedError) and self._redo(step, subject, error)):
                    self._fail_step(step, subject, error)

    def _take_mended(self, outcome: VideoMended | Mended) -> None:
        """Go on where a damaged file ended a step."""
        for work in outcome.done.works:
            self.run_log.count(work)
        if isinstance(outcome, VideoMended):
            self._take_outcome(Tracked(outcome.video_id, outcome.done.tracked[0]))
            return
        for done in outcome.done.tracked:
            self.run_log.count(done.work)
        if title := self.books.title(outcome.title_id):
            self.pools.adapt(title, sum(done.crops for done in outcome.done.tracked))

    def _redo(self, step: str, subject: str, error: DamagedError) -> bool:
        """Have a damaged file made again; False where that was tried before, or is for nobody."""
        self._redone[subject] += 1
        if self._redone[subject] > MAX_REDONE:
            return False
        video = self.books.video(subject) if step == TRACK.name else None
        title = self.books.title(subject) if step != TRACK.name else None
        if video is not None:
            self.pools.redo_video(video.plan)
        elif title is not None:
            self.pools.redo_title(title)
        else:
            return False
        self.run_log.redo(str(error))
        return True

    def _start(self, due: Due, new_failures: bool = True) -> None:
        """Report and start what an entry in the books has made due."""
        for failure in due.failures:
            self.run_log.fail(failure, new=new_failures)
        if due.jobs:
            self.pools.segments.put(list(due.jobs))
        for video in due.videos:
            self.pools.track(video)
        for title in due.titles:
            self.pools.adapt(title, self.books.crops(title))

    def _fail_step(self, step: str, subject: str, error: Exception) -> None:
        """Report and close the titles that a failed step belongs to."""
        title_ids = [subject]
        if step == TRACK.name:
            video = self.books.video(subject)
            title_ids = sorted(video.titles) if video else []
        for title in filter(None, map(self.books.title, title_ids)):
            self.run_log.fail(failure_of(title.where, step, error))
        self._close(title_ids)
        if step == CLUSTER.name and isinstance(error, ray.exceptions.ActorDiedError):
            raise error  # Ray starts the reducer again for ever, unless it cannot be started at all

    def _close(self, title_ids: Iterable[str]) -> None:
        """Forget titles, so that a long catalog takes no more memory than a short one."""
        for title_id in title_ids:
            if self.books.title(title_id) is None:
                continue
            for video in self.books.close_title(title_id):
                if video.pending:  # no more progress of it will be shown
                    self._show(video, video.segments)

    def _show(self, video: OpenVideo, ended: int) -> None:
        if video.segments:
            name = video.plan.video_id
            self.run_log.emit(StepProgress(DETECT.name, name, ended, video.segments))

    def _report_progress(self) -> None:
        for subject, progress in self.pools.progress().items():
            self.run_log.emit(StepProgress(ADAPT.name, subject, min(progress, 1.0), 1.0))
        self.metrics.set("vcn_videos_open", self.books.untracked)
        self.metrics.set("vcn_segments_open", self.pools.segments.open)

    def _fail_run(self, step: str, message: str) -> None:
        self.run_log.fail(_broken(self.output, step, message))


def _failures_of(row: SegmentRow, video: OpenVideo | None) -> Iterator[Failure]:
    """The failure of a segment, if it failed, for each copy of its video."""
    if row.reason:
        reason = cast(Reason, row.reason)
        failure = Failure(row.uri, DETECT.name, row.segment, reason, row.message, row.attempts)
        for uri in video.uris if video else [row.uri]:
            yield replace(failure, uri=uri)


def _broken(output: str, step: str, message: str) -> Failure:
    return Failure(output, step, None, "internal_error", message)


def _report_unfinished(books: Books, run_log: RunLog) -> None:
    """Report the titles that the end of the run has left open, unless their failure is known."""
    failed = {failure.uri for failure in run_log.failures}
    for title in books:
        if failed.isdisjoint({title.title, *(video.uri for video in title.videos)}):
            message = "segments of it are missing; run the same command again"
            run_log.fail(_broken(title.videos[0].uri, DETECT.name, message))
