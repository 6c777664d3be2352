"""A run on a Ray cluster: the driver that hands work out and lets titles finish as they can.

It keeps no results: what is done is known by what storage holds. Segments flow through Ray Data in
a thread of their own; linking, fine-tuning and clustering are futures that this loop waits for.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import ray

from vcn_ray.config import RunConfig
from vcn_ray.distributed.cluster import cluster
from vcn_ray.distributed.metrics import RunMetrics
from vcn_ray.distributed.reducer import Reducer, link_video
from vcn_ray.distributed.segments import SegmentRow, open_segments, run_segments
from vcn_ray.distributed.trainer import ProgressBoard, TitleTrainer, train_large
from vcn_ray.errors import Reason
from vcn_ray.io.storage import Storage, one_line
from vcn_ray.run.events import RunLog, RunOutcome, StageProgress, Watch
from vcn_ray.run.plan import Failure, Plan, TitlePlan, VideoPlan
from vcn_ray.run.steps import ResultDone, TitleStatus, VideoDone, count_crops, failure_of
from vcn_ray.run.work import Work

log = logging.getLogger(__name__)

_Board = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(ProgressBoard)
_Reducer = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Reducer)
_link_video = ray.remote(num_cpus=1, max_retries=2)(link_video)
_train_large = ray.remote(num_cpus=0)(train_large)

POLL_SECONDS = 0.2
END_SECONDS = 10.0  # to wait for the stream of segments when a run gives up
SegmentsOver = Exception | None
"""Ends the stream of segment rows: None, or why it broke off."""


def run_catalog(
    plan: Plan,
    config: RunConfig,
    storage: Storage,
    watch: Watch,
    run_id: str,
    max_failures: int | None = None,
) -> RunOutcome:
    """Do all of a plan that is not done yet, on Ray.

    Args:
        plan: What is wanted.
        config: Settings of the run.
        storage: Where results go; every node must be able to write there.
        watch: Is told how it goes.
        run_id: Name of this run.
        max_failures: Videos that may fail; after more, the run ends.

    Raises:
        UsageError: The settings ask for more than the machine has.

    Returns:
        What was done; the failures of one title never stop another.
    """
    with cluster(config.resources):
        metrics = RunMetrics(run_id)
        told = RunLog(watch, metrics, max_failures=max_failures)
        return _Driver(plan, config, storage, run_id, told, metrics).run()


@dataclass(slots=True, eq=False)
class _Driver:
    plan: Plan
    config: RunConfig
    storage: Storage
    run_id: str
    told: RunLog
    metrics: RunMetrics
    _videos: dict[str, VideoPlan] = field(default_factory=dict)  # of the plan, by id
    _titles: dict[str, TitlePlan] = field(default_factory=dict)
    _waiting: dict[Any, tuple[Callable[..., None], str, str]] = field(default_factory=dict)
    _linked: set[str] = field(default_factory=set)  # videos sent to be linked
    _opened: set[str] = field(default_factory=set)  # titles sent to be trained
    _rows: queue.SimpleQueue[SegmentRow | SegmentsOver] = field(default_factory=queue.SimpleQueue)
    _segments: dict[str, int] = field(default_factory=dict)  # to be done, by video
    _open_segments: int = 0  # of all these, not over yet
    _done: dict[str, int] = field(default_factory=dict)  # of these, over
    _open_videos: set[str] = field(default_factory=set)  # that are not linked yet
    _reducer: Any = None
    _board: Any = None
    _trainers: list[Any] = field(default_factory=list)
    _idle: list[Any] = field(default_factory=list)  # of these
    _busy: dict[Any, Any] = field(default_factory=dict)  # trainer, by its future
    _queue: deque[str] = field(default_factory=deque)  # titles that wait for a trainer
    _thread: threading.Thread | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> RunOutcome:
        self._videos = {video.video_id: video for video in self.plan.videos}
        self._titles = {title.title_id: title for title in self.plan.titles}
        self._open_videos = set(self._videos)
        self.metrics.set("vcn_videos_planned", len(self._open_videos))
        self.metrics.set("vcn_videos_open", len(self._open_videos))
        for failure in self.plan.failures:
            self.told.fail(failure)
        if not self.told.gave_up:
            try:
                self._drive()
            except ray.exceptions.RayError as error:  # the reducer cannot be started any more
                log.debug("the run broke off", exc_info=True)
                message = f"the run broke off: {one_line(error)}"
                self.told.fail(Failure(self.storage.uri, "result", None, "internal_error", message))
            finally:
                self._end()
        if not self.told.gave_up:
            self._report_unfinished()
        return self.told.outcome()

    def _drive(self) -> None:
        """Hand out work until there is none, or too much has failed."""
        output, resources = self.storage.uri, self.config.resources
        self._board = _Board.remote()
        self._reducer = _Reducer.remote(self.plan, self.config, output)
        trainer = ray.remote(
            num_cpus=resources.adapt_cpus,
            num_gpus=resources.adapt_gpus,
            max_restarts=-1,
            max_task_retries=2,
        )(TitleTrainer)
        self._trainers = [
            trainer.remote(self.config, output) for _ in range(resources.adapt_workers)
        ]
        self._idle += self._trainers
        for video_id in ray.get(self._reducer.complete_videos.remote()):
            self._link(video_id)
        self._thread = threading.Thread(target=self._stream, daemon=True)
        self._thread.start()
        streaming = True
        while (streaming or self._waiting or self._queue) and not self.told.gave_up:
            streaming = self._take_rows() and streaming
            self._take_futures()

    def _end(self) -> None:
        """Leave nothing behind that goes on working."""
        self._stop.set()
        for actor in (self._board, self._reducer, *self._trainers):
            if actor is not None:
                ray.kill(actor)
        for future in self._waiting:
            with suppress(ray.exceptions.RayError, ValueError, TypeError):
                ray.cancel(future)  # a task of its own; an actor's went with it
        if self._thread is not None:
            self._thread.join(END_SECONDS)

    def _stream(self) -> None:
        try:
            todo = open_segments(self.plan.videos, self.storage)
            for job in todo:
                self._segments[job.video_id] = self._segments.get(job.video_id, 0) + 1
            self._open_segments = len(todo)
            rows = run_segments(todo, self.config, self.storage.uri, self.run_id)
            for row in rows:
                self._rows.put(row)
                if self._stop.is_set():
                    break
        except Exception as error:  # told to the loop, which ends the run in order
            log.debug("the stream of segments broke off", exc_info=True)
            self._rows.put(error)
        else:
            self._rows.put(None)

    def _take_rows(self) -> bool:
        """Handle segment rows that have come; false once the stream is over."""
        while not self._rows.empty():
            row = self._rows.get()
            if not isinstance(row, SegmentRow):
                if row is not None:
                    message = f"segments broke off: {one_line(row)}"
                    self.told.fail(
                        Failure(self.storage.uri, "faces", None, "internal_error", message)
                    )
                return False
            done = self._done[row.video_id] = self._done.get(row.video_id, 0) + 1
            self.told.tell(StageProgress("faces", row.video_id, done, self._segments[row.video_id]))
            self.told.count(row.work)
            self._open_segments -= 1
            self.metrics.set("vcn_segments_open", self._open_segments)
            if row.reason:
                reason = cast(Reason, row.reason)
                self.told.fail(
                    Failure(row.uri, "faces", row.segment, reason, row.message, row.attempts)
                )
            elif ray.get(self._reducer.segment_done.remote(row.video_id, row.segment)):
                self._link(row.video_id)
        return True

    def _take_futures(self) -> None:
        self._feed_trainers()
        if not self._waiting:
            threading.Event().wait(POLL_SECONDS)
            return
        ready, _ = ray.wait(list(self._waiting), num_returns=1, timeout=POLL_SECONDS)
        for future in ready:
            handle, subject, stage = self._waiting.pop(future)
            if future in self._busy:
                self._idle.append(self._busy.pop(future))
            try:
                handle(subject, ray.get(future))
            except Exception as error:  # one title must never stop the others
                log.debug("%s failed", subject, exc_info=True)
                self._fail_subject(subject, stage, error)
        for subject, share in ray.get(self._board.take.remote()).items():
            self.told.tell(StageProgress("adapt", subject, min(share, 1.0), 1.0))

    def _link(self, video_id: str) -> None:
        if video_id in self._linked:
            return
        self._linked.add(video_id)
        future = _link_video.remote(self._videos[video_id], self.config, self.storage.uri)
        self._waiting[future] = (self._on_linked, video_id, "tracks")

    def _on_linked(self, video_id: str, linked: VideoDone) -> None:
        self.told.count(linked.work)
        self._open_videos.discard(video_id)
        self.metrics.set("vcn_videos_open", len(self._open_videos))
        for failure in linked.failures:
            self.told.fail(failure, new=linked.work is not None)
        for title_id in ray.get(self._reducer.video_done.remote(video_id)):
            if title_id not in self._opened:
                self._opened.add(title_id)
                future = self._reducer.finished.remote(title_id)
                self._waiting[future] = (self._on_looked, title_id, "adapt")

    def _on_looked(self, title_id: str, status: TitleStatus | None) -> None:
        if status is not None:
            self.told.finish(status)
            return
        title = self._titles[title_id]
        if count_crops(title, self.storage) > self.config.resources.trainer_crops:
            future = _train_large.remote(title, self.config, self.storage.uri, self._board)
            self._waiting[future] = (self._on_adapted, title_id, "adapt")
        else:
            self._queue.append(title_id)

    def _feed_trainers(self) -> None:
        """Give each idle trainer one title: one that kills its trainer takes no other with it."""
        while self._queue and self._idle:
            title_id, trainer = self._queue.popleft(), self._idle.pop()
            future = trainer.adapt.remote(self._titles[title_id], self._board)
            self._busy[future] = trainer
            self._waiting[future] = (self._on_adapted, title_id, "adapt")

    def _on_adapted(self, title_id: str, work: Work | None) -> None:
        self.told.count(work)
        self._waiting[self._reducer.reduce.remote(title_id)] = (
            self._on_reduced,
            title_id,
            "result",
        )

    def _on_reduced(self, _: str, result: ResultDone) -> None:
        self.told.count(result.work)
        self.told.finish(result.status)

    def _fail_subject(self, subject: str, stage: str, error: Exception) -> None:
        cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        for title in self.plan.titles:
            if subject == title.title_id or any(subject == v.video_id for v in title.videos):
                self.told.fail(failure_of(title, stage, cause))

    def _report_unfinished(self) -> None:
        told = {failure.uri for failure in self.told.failures}
        finished = {status.title_id for status in self.told.titles}
        for title in self.plan.titles:
            where = {title.title, *(video.uri for video in title.videos)}
            if title.title_id not in finished and not told & where:
                message = "segments of it are missing; run the same command again"
                self.told.fail(
                    Failure(title.videos[0].uri, "faces", None, "internal_error", message)
                )
