"""All Ray handles of a run: the segment stream, track tasks, trainers, the reducer and the board.

It starts calls and returns their outcomes. Which titles are complete, and what comes next, is the
business of the driver and its books.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import ray

from vcn_ray.config import RunConfig
from vcn_ray.distributed.segments import SegmentStream
from vcn_ray.distributed.trainer import ProgressBoard, TrainerPool, train_large
from vcn_ray.io.storage import Storage
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.find import open_pack
from vcn_ray.run.commit import (
    ClusterDone,
    TrackDone,
    commit_cluster,
    commit_detect,
    commit_track,
)
from vcn_ray.run.corrections import correct
from vcn_ray.run.damage import Inspector
from vcn_ray.run.devices import open_detecting_pack
from vcn_ray.run.ledger import Work
from vcn_ray.run.plan import TitlePlan, VideoPlan
from vcn_ray.steps import ADAPT, CLUSTER, DETECT, TRACK

log = logging.getLogger(__name__)

BOARD_SECONDS = 2.0  # for which the end of a run waits for the board's last answer


class Reducer:
    """The one actor of a run that clusters titles and commits their results.

    It keeps no state. If its machine dies, Ray starts it on another one and repeats the call, which
    gives the same rows under the same keys.
    """

    def __init__(self, config: RunConfig, output: str) -> None:
        self._config = config
        self._storage = Storage.open(output, config.s3)
        self._pack: FacePack = open_pack(config)

    def cluster(self, title: TitlePlan) -> ClusterDone:
        """Cluster an adapted title and commit its result."""
        done = commit_cluster(title, self._pack, self._config, self._storage)
        return done._replace(status=correct(done.status, title, self._storage))


def track_video(video: VideoPlan, config: RunConfig, output: str) -> TrackDone:
    """Join the segments of one video into tracks and commit them."""
    return commit_track(video, config, Storage.open(output, config.s3))


_Board = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(ProgressBoard)
_Reducer = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Reducer)


class Redone(NamedTuple):
    """What redo_videos returns."""

    works: tuple[Work, ...]
    tracked: tuple[TrackDone, ...]  # by video


def redo_videos(videos: tuple[VideoPlan, ...], config: RunConfig, output: str) -> Redone:
    """Run steps `detect` and `track` on videos again, as far as stored files are damaged.

    The stream of segments may have ended by now, so this is one task with the resources of a
    segment worker.
    """
    storage, works = Storage.open(output, config.s3), []
    pack, tracked = open_detecting_pack(config, log.warning), []
    for video in videos:
        inspector = Inspector(storage, mend=True, deep=True)  # all of its damage at once
        tracked_before = inspector.usable(video.track_folder, video.erased) is not None
        jobs = [] if tracked_before else inspector.open_jobs(video)
        works += [commit_detect(job, pack, config, storage) for job in jobs]
        tracked.append(commit_track(video, config, storage))
    return Redone(tuple(work for work in works if work), tuple(tracked))


_redo_videos = ray.remote(max_retries=2)(redo_videos)
_track_video = ray.remote(max_retries=2)(track_video)
_train_large = ray.remote(num_cpus=0)(train_large)


class Tracked(NamedTuple):
    """A video is tracked."""

    video_id: str
    done: TrackDone


class Adapted(NamedTuple):
    """A title is adapted."""

    title_id: str
    work: Work | None


class Clustered(NamedTuple):
    """A title has a result."""

    title_id: str
    done: ClusterDone


class Mended(NamedTuple):
    """Damaged files of a title's videos are made again."""

    title_id: str
    done: Redone


class VideoMended(NamedTuple):
    """Damaged files of a video are made again, and it is tracked."""

    video_id: str
    done: Redone


class StepFailed(NamedTuple):
    """A step of a video or title failed."""

    step: str
    subject: str  # id of the video or title
    error: Exception


Outcome = Tracked | Adapted | Clustered | Mended | VideoMended | StepFailed


class _Call(NamedTuple):
    """A call in progress."""

    step: str
    subject: str  # id of the video or title
    outcome: Callable[[str, Any], Outcome]  # of the subject and what the call returns


class Pools:
    """The actors and tasks of a run.

    Args:
        config: Settings of the run.
        output: Where results go.
        run_id: Name of the run.

    Attributes:
        segments: The stream of segments.
    """

    def __init__(self, config: RunConfig, output: str, run_id: str) -> None:
        self._config = config
        self._output = output
        self._board = _Board.remote()
        self._progress: Any = None  # the call of the board that is in progress
        self._reducer = _Reducer.remote(config, output)
        self._trainers = TrainerPool(config, output, self._board)
        self._calls: dict[Any, _Call] = {}  # by future
        self.segments = SegmentStream(config, output, run_id)

    @property
    def busy(self) -> bool:
        """True while calls, segments apart, are in progress or wait for a trainer."""
        return bool(self._calls or self._trainers.has_queue)

    def track(self, video: VideoPlan) -> None:
        """Track a video whose segments are all committed."""
        task = _track_video.options(num_cpus=TRACK.cpus(self._config.resources))
        future = task.remote(video, self._config, self._output)
        self._calls[future] = _Call(TRACK.name, video.video_id, Tracked)

    def redo_video(self, video: VideoPlan) -> None:
        """Track a video again, of which a stored file is damaged."""
        self._calls[self._redo((video,))] = _Call(TRACK.name, video.video_id, VideoMended)

    def redo_title(self, title: TitlePlan) -> None:
        """Make what is damaged of a title's videos again, before it is adapted again."""
        self._calls[self._redo(title.videos)] = _Call(ADAPT.name, title.title_id, Mended)

    def _redo(self, videos: tuple[VideoPlan, ...]) -> Any:
        resources = self._config.resources
        task = _redo_videos.options(
            num_cpus=DETECT.cpus(resources), num_gpus=DETECT.gpus(resources) or None
        )
        return task.remote(videos, self._config, self._output)

    def adapt(self, title: TitlePlan, crops: int) -> None:
        """Fine-tune on a title with so many crops, whose videos are all tracked."""
        if crops <= self._config.resources.adapt_job_crops:
            self._trainers.put(title)
            return
        future = _train_large.remote(title, self._config, self._output, self._board)
        self._calls[future] = _Call(ADAPT.name, title.title_id, Adapted)

    def cluster(self, title: TitlePlan) -> None:
        """Cluster an adapted title."""
        future = self._reducer.cluster.remote(title)
        self._calls[future] = _Call(CLUSTER.name, title.title_id, Clustered)

    def wait(self, seconds: float) -> Iterator[Outcome]:
        """Wait until a call ends, but not longer than so many seconds.

        Yields:
            The outcomes of all calls that have ended by then.
        """
        for title_id, future in self._trainers.start():
            self._calls[future] = _Call(ADAPT.name, title_id, Adapted)
        if not self._calls:
            time.sleep(seconds)
            return
        ray.wait(list(self._calls), num_returns=1, timeout=seconds)
        ended, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        for future in ended:
            yield self._outcome(future)

    def progress(self) -> dict[str, float]:
        """What trainers have reported since the last call, by subject; it never waits."""
        if self._progress is None:
            self._progress = self._board.take.remote()
        answered, _ = ray.wait([self._progress], timeout=0)
        if not answered:
            return {}
        progress: dict[str, float] = ray.get(self._progress)
        self._progress = None
        return progress

    def close(self) -> None:
        """Kill everything that still works for the run."""
        if self._progress is not None:  # Ray would report a call that is killed on the terminal
            ray.wait([self._progress], timeout=BOARD_SECONDS)
        for actor in (self._board, self._reducer):
            ray.kill(actor)
        self._trainers.close()
        for future in self._calls:
            with suppress(ray.exceptions.RayError, ValueError, TypeError):
                ray.cancel(future)  # a task; the call of an actor ended with it
        self.segments.stop()

    def _outcome(self, future: Any) -> Outcome:
        call = self._calls.pop(future)
        self._trainers.release(future)
        try:
            return call.outcome(call.subject, ray.get(future))
        except Exception as error:  # one title must never stop the others
            log.debug("%s of %s failed", call.step, call.subject, exc_info=True)
            cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
            return StepFailed(call.step, call.subject, cause)
