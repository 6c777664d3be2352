"""A run on a Ray cluster: the driver that hands work out and lets titles finish as they can.

It keeps no results: what is done is known by what storage holds. Titles are planned in a thread,
segments flow through Ray Data in another; linking, fine-tuning and clustering are futures that this
loop waits for. Of a catalog of any length it holds the titles under way, which are bounded, those
that failed by name, and a line for the record of each of the others.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

import ray

from vcn_ray.config import RunConfig
from vcn_ray.distributed.prometheus import RunMetrics
from vcn_ray.distributed.reducer import Answer, OpenedTitle, Reducer, link_video
from vcn_ray.distributed.segments import SegmentRow, SegmentStream
from vcn_ray.distributed.session import cluster
from vcn_ray.distributed.trainer import ProgressBoard, TitleTrainer, train_large
from vcn_ray.errors import Reason
from vcn_ray.io.storage import Storage, one_line
from vcn_ray.run.commit import ClusterDone, TrackDone, count_crops
from vcn_ray.run.events import RunLog, StepProgress
from vcn_ray.run.failures import Failure, failure_of
from vcn_ray.run.ledger import Work
from vcn_ray.run.local import tell
from vcn_ray.run.plan import TitlePlan, VideoPlan
from vcn_ray.run.planning import LookedUp

log = logging.getLogger(__name__)

_Board = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(ProgressBoard)
# Titles are clustered in a thread of their own: who asks what is missing does not wait for that.
_Reducer = ray.remote(
    num_cpus=0, max_restarts=-1, max_task_retries=-1, concurrency_groups={"cluster": 1}
)(Reducer)
_link_video = ray.remote(num_cpus=1, max_retries=2)(link_video)
_train_large = ray.remote(num_cpus=0)(train_large)

POLL_SECONDS = 0.2
AHEAD = 4  # planned titles that wait for room
SETTLE_SECONDS = 5.0  # that segment workers wait for the end of a catalog
MOST_TITLES = 500  # under way: of those whose faces are found, more wait for a trainer than finish


def run_catalog(
    titles: Iterator[LookedUp], config: RunConfig, storage: Storage, run_id: str, told: RunLog
) -> None:
    """Do all of a catalog that is not done yet, on Ray.

    Args:
        titles: What is wanted; they are looked up while others are under way.
        config: Settings of the run.
        storage: Where results go; every node must be able to write there.
        run_id: Name of this run.
        told: Is told how it goes; the failures of one title never stop another.

    Raises:
        UsageError: The settings ask for more than the machine has.
    """
    with cluster(config.resources):
        metrics = RunMetrics(run_id)
        told.watch(metrics)
        _Driver(config, storage, run_id, told, metrics).run(titles)


@dataclass(slots=True)
class _OpenVideo:
    """A video of titles under way."""

    plan: VideoPlan
    titles: set[str]  # that hold it
    uris: dict[str, None]  # of its copies, in order
    failures: tuple[Failure, ...] = ()  # of its segments, once it is linked
    segments: int = 0  # to be done in this run
    done: int = 0  # of these, over
    linking: bool = False  # sent to be linked
    linked: bool = False


@dataclass(slots=True, eq=False)
class _Driver:
    config: RunConfig
    storage: Storage
    run_id: str
    told: RunLog
    metrics: RunMetrics
    _open: dict[str, TitlePlan] = field(default_factory=dict)  # titles under way
    _videos: dict[str, _OpenVideo] = field(default_factory=dict)  # of these
    _training: set[str] = field(default_factory=set)  # titles sent to be trained
    _waiting: dict[Any, tuple[Callable[..., None], str, str]] = field(default_factory=dict)
    _planned: queue.Queue[LookedUp | Exception | None] = field(
        default_factory=lambda: queue.Queue(AHEAD)
    )
    _planning: bool = True
    _began: float = field(default_factory=time.monotonic)
    _life: str = ""  # of the reducer that knows which titles are under way
    _stop: threading.Event = field(default_factory=threading.Event)
    _stream: SegmentStream | None = None
    _reducer: Any = None
    _board: Any = None
    _trainers: list[Any] = field(default_factory=list)
    _idle: list[Any] = field(default_factory=list)  # of these
    _busy: dict[Any, Any] = field(default_factory=dict)  # trainer, by its future
    _queue: deque[str] = field(default_factory=deque)  # titles that wait for a trainer

    def run(self, titles: Iterator[LookedUp]) -> None:
        planner = threading.Thread(target=self._plan, args=(titles,), daemon=True)
        planner.start()
        try:
            self._drive()
        except ray.exceptions.RayError as error:  # the reducer cannot be started any more
            log.debug("the run broke off", exc_info=True)
            self._tell_broken("cluster", f"the run broke off: {one_line(error)}")
        finally:
            self._stop.set()
            self._end()
        if not self.told.gave_up:
            self._report_unfinished()

    def _plan(self, titles: Iterator[LookedUp]) -> None:
        """Plan title after title, as many ahead as wait for room; runs in a thread of its own."""
        end: Exception | None = None
        try:
            for looked in titles:
                self._pass_on(looked)
                if self._stop.is_set():
                    break
        except Exception as error:  # told where the run can go on with what is under way
            log.debug("planning broke off", exc_info=True)
            end = error
        self._pass_on(end)

    def _pass_on(self, planned: LookedUp | Exception | None) -> None:
        while not self._stop.is_set():
            with suppress(queue.Full):
                self._planned.put(planned, timeout=POLL_SECONDS)
                return

    def _drive(self) -> None:
        """Hand out work until there is none, or too much has failed."""
        output, resources = self.storage.uri, self.config.resources
        self._board = _Board.remote()
        self._reducer = _Reducer.remote(self.config, output)
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
        self._stream = SegmentStream(self.config, output, self.run_id)
        while self._under_way(self._stream) and not self.told.gave_up:
            self._take_planned(self._stream)
            self._start_when_due(self._stream)
            self._take_rows(self._stream)
            self._take_futures()

    def _start_when_due(self, stream: SegmentStream) -> None:
        """Start workers once all of a short catalog is known, which may need fewer of them."""
        settled = time.monotonic() - self._began > SETTLE_SECONDS or not stream.has_room
        if not stream.started and (not self._planning or (settled and stream.open)):
            stream.start()

    def _under_way(self, stream: SegmentStream) -> bool:
        return bool(self._planning or not stream.over or self._waiting or self._queue)

    def _end(self) -> None:
        """Leave nothing behind that goes on working."""
        for actor in (self._board, self._reducer, *self._trainers):
            if actor is not None:
                ray.kill(actor)
        for future in self._waiting:
            with suppress(ray.exceptions.RayError, ValueError, TypeError):
                ray.cancel(future)  # a task of its own; an actor's went with it
        if self._stream is not None:
            self._stream.stop()

    def _take_planned(self, stream: SegmentStream) -> None:
        """Begin with titles that have been planned, for a moment, while there is room for them."""
        until = time.monotonic() + POLL_SECONDS
        while self._has_room(stream) and not self._planned.empty() and time.monotonic() < until:
            looked = self._planned.get()
            if not isinstance(looked, LookedUp):
                self._planning = False
                stream.end()
                if looked is not None:
                    self._tell_broken("plan", f"planning broke off: {one_line(looked)}")
                return
            if not tell(looked, self.told):
                return
            if looked.title and looked.found is None:
                self._try_to_begin(looked.title, stream)

    def _has_room(self, stream: SegmentStream) -> bool:
        return self._planning and stream.has_room and len(self._open) < MOST_TITLES

    def _try_to_begin(self, title: TitlePlan, stream: SegmentStream) -> None:
        try:
            self._begin(title, stream)
        except ray.exceptions.RayActorError:
            raise
        except Exception as error:  # one title must never stop the others
            log.debug("%s cannot be begun", title.title_id, exc_info=True)
            self.told.fail(failure_of(title.where, "detect", _cause(error)))

    def _begin(self, title: TitlePlan, stream: SegmentStream) -> None:
        linked = frozenset(
            v.video_id
            for v in title.videos
            if v.video_id in self._videos and self._videos[v.video_id].linked
        )
        opened: OpenedTitle = self._ask("open_title", title, linked)
        self._open[title.title_id] = title
        for video in title.videos:
            known = self._videos.setdefault(video.video_id, _OpenVideo(video, set(), {}))
            known.titles.add(title.title_id)
            self._tell_lost(known, video.uri)
        for job in opened.jobs:
            self._videos[job.video_id].segments += 1
        stream.put(opened.jobs)
        self._count_open()
        for video_id in opened.complete:
            self._link(video_id)
        if linked == {video.video_id for video in title.videos}:  # all by other titles
            self._train(title)

    def _tell_lost(self, video: _OpenVideo, uri: str) -> None:
        """Note a copy of a video, and tell of what is known to have failed of it."""
        if uri not in video.uris:
            video.uris[uri] = None
            for failure in video.failures:
                self.told.fail(replace(failure, uri=uri), new=False)

    def _count_open(self) -> None:
        unlinked = sum(not video.linked for video in self._videos.values())
        self.metrics.set("vcn_videos_open", unlinked)

    def _take_rows(self, stream: SegmentStream) -> None:
        """Handle segments that are over."""
        try:
            rows = stream.take()
        except RuntimeError as error:
            self._planning = False
            self._tell_broken("detect", one_line(error))
            return
        for row in rows:
            self._take_row(row)
        self.metrics.set("vcn_segments_open", stream.open)

    def _take_row(self, row: SegmentRow) -> None:
        video = self._videos.get(row.video_id)
        self.told.count(row.work)
        if row.reason:
            reason = cast(Reason, row.reason)
            failure = Failure(row.uri, "detect", row.segment, reason, row.message, row.attempts)
            for uri in video.uris if video else [row.uri]:
                self.told.fail(replace(failure, uri=uri))
        if video is None:  # its titles are over
            return
        video.done += 1
        self.told.tell(StepProgress("detect", row.video_id, video.done, video.segments))
        if row.reason:
            for title_id in sorted(video.titles):
                self._close(title_id)
        elif self._ask("segment_done", row.video_id, row.segment):
            self._link(row.video_id)

    def _ask(self, method: str, *words: Any) -> Any:
        """Ask the reducer; one that was started anew is first told what is under way."""
        while True:
            answer: Answer = ray.get(self._reducer.ask.remote(self._life, method, *words))
            if answer.life == self._life:
                return answer.value
            self._life = answer.life
            for title in list(self._open.values()):
                videos = (self._videos[video.video_id] for video in title.videos)
                linked = frozenset(video.plan.video_id for video in videos if video.linked)
                opened: OpenedTitle = self._ask("open_title", title, linked)
                for video_id in opened.complete:
                    self._link(video_id)

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
            self.told.tell(StepProgress("adapt", subject, min(share, 1.0), 1.0))

    def _link(self, video_id: str) -> None:
        video = self._videos[video_id]
        if video.linking:
            return
        video.linking = True
        future = _link_video.remote(video.plan, self.config, self.storage.uri)
        self._waiting[future] = (self._on_linked, video_id, "track")

    def _on_linked(self, video_id: str, linked: TrackDone) -> None:
        self.told.count(linked.work)
        video = self._videos.get(video_id)
        if video is None:  # its titles are over
            return
        video.linked, video.failures = True, linked.failures
        for uri in video.uris:
            for failure in linked.failures:
                self.told.fail(replace(failure, uri=uri), new=linked.work is not None)
        self._count_open()
        for title_id in self._ask("video_done", video_id):
            self._train(self._open[title_id])

    def _train(self, title: TitlePlan) -> None:
        if title.title_id in self._training:
            return
        self._training.add(title.title_id)
        if count_crops(title, self.storage) > self.config.resources.adapt_job_crops:
            future = _train_large.remote(title, self.config, self.storage.uri, self._board)
            self._waiting[future] = (self._on_adapted, title.title_id, "adapt")
        else:
            self._queue.append(title.title_id)

    def _feed_trainers(self) -> None:
        """Give each idle trainer one title: one that kills its trainer takes no other with it."""
        while self._queue and self._idle:
            title_id, trainer = self._queue.popleft(), self._idle.pop()
            future = trainer.adapt.remote(self._open[title_id], self._board)
            self._busy[future] = trainer
            self._waiting[future] = (self._on_adapted, title_id, "adapt")

    def _on_adapted(self, title_id: str, work: Work | None) -> None:
        self.told.count(work)
        reduce = self._reducer.reduce.options(concurrency_group="cluster")
        future = reduce.remote(self._open[title_id])
        self._waiting[future] = (self._on_reduced, title_id, "cluster")

    def _on_reduced(self, title_id: str, result: ClusterDone) -> None:
        self.told.count(result.work)
        self.told.finish(result.status)
        self._close(title_id)

    def _close(self, title_id: str) -> None:
        """Forget a title that is over, so that a long catalog takes no more memory than a short."""
        title = self._open.pop(title_id)
        self._training.discard(title_id)
        self._ask("close_title", title)
        for video in title.videos:
            known = self._videos[video.video_id]
            known.titles.discard(title_id)
            if not known.titles:
                del self._videos[video.video_id]
                if known.done < known.segments:  # nobody will tell more of it
                    count = known.segments
                    self.told.tell(StepProgress("detect", video.video_id, count, count))
        self._count_open()

    def _fail_subject(self, subject: str, stage: str, error: Exception) -> None:
        video = self._videos.get(subject)
        for title_id in sorted(video.titles) if video else [subject]:
            if title_id in self._open:
                self.told.fail(failure_of(self._open[title_id].where, stage, _cause(error)))
                self._close(title_id)

    def _tell_broken(self, stage: str, message: str) -> None:
        self.told.fail(Failure(self.storage.uri, stage, None, "internal_error", message))

    def _report_unfinished(self) -> None:
        told = {failure.uri for failure in self.told.failures}
        for title in self._open.values():
            where = {title.title, *(video.uri for video in title.videos)}
            if not told & where:
                message = "segments of it are missing; run the same command again"
                self.told.fail(
                    Failure(title.videos[0].uri, "detect", None, "internal_error", message)
                )


def _cause(error: Exception) -> Exception:
    return error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
