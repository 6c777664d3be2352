"""Which outputs of a plan exist already, read from storage; it changes no table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.run.commit import failures_in, segment_file
from vcn_ray.run.failures import Failure
from vcn_ray.run.plan import SegmentJob, TitlePlan, VideoPlan
from vcn_ray.run.status import TitleStatus, point_to, read_status


def open_jobs(video: VideoPlan, storage: Storage) -> list[SegmentJob]:
    """The segments of a video that are not committed yet."""
    names = set(storage.names(video.detect_folder))  # one request instead of one for each segment
    prefix = f"{video.detect_folder}/"
    markers = (
        (job, segment_file(video.detect_folder, job.index, "seg", "json")) for job in video.jobs()
    )
    return [job for job, marker in markers if marker.removeprefix(prefix) not in names]


def untracked_videos(title: TitlePlan, storage: Storage) -> list[VideoPlan]:
    """The videos of a title whose tracks are not committed yet."""
    return [video for video in title.videos if not storage.is_committed(video.track_folder)]


class FoundResult(NamedTuple):
    """A result of an earlier run."""

    status: TitleStatus
    failures: tuple[Failure, ...]  # the segments that the result lacks


def find_failures(title: TitlePlan, storage: Storage) -> tuple[Failure, ...] | None:
    """The segments that the result of a finished title lacks; None where it is not finished.

    A title is finished once its result is committed, and the tracks that a report of it shows.
    """
    if not storage.is_committed(title.cluster_folder):
        return None
    failures: tuple[Failure, ...] = ()
    for video in title.videos:
        manifest = storage.find_json(f"{video.track_folder}/{MANIFEST}")
        if manifest is None:
            return None
        failures += failures_in(manifest, video)
    return failures


def find_result(title: TitlePlan, storage: Storage) -> FoundResult | None:
    """The result of a finished title, which becomes the title's newest; None if not finished."""
    failures = find_failures(title, storage)
    if failures is None:
        return None
    point_to(title, storage)
    return FoundResult(read_status(title, storage, reused=True), failures)


@dataclass(frozen=True, slots=True)
class TitleState:
    """How much of a title is finished."""

    title: TitlePlan
    segments: int
    segments_done: int
    tracked: bool
    adapted: bool
    finished: bool
    failed_segments: int  # finished segments that could not be read

    @property
    def seconds(self) -> float:
        """The length of its videos."""
        return sum(video.info.duration_seconds for video in self.title.videos)

    @property
    def action(self) -> str:
        """What a run would do, in a word or two."""
        if self.finished:
            return "nothing"
        if self.adapted:
            return "cluster again"
        if self.tracked:
            return "fine-tune and cluster"
        return "resume" if self.segments_done else "everything"

    @property
    def why(self) -> str:
        """Why a run would do that."""
        if self.failed_segments:
            lost = f"{self.failed_segments} of {self.segments} segments"
            return f"its result exists, without {lost}: --retry-failed tries them again"
        return {
            "nothing": "its result exists",
            "cluster again": "only settings of clustering or quality differ from an earlier run",
            "fine-tune and cluster": "its tracks exist",
            "resume": f"{self.segments_done} of {self.segments} segments are finished",
            "everything": "nothing of it is finished under these settings",
        }[self.action]


def read_state(title: TitlePlan, storage: Storage) -> TitleState:
    """Find out how much of a title is finished."""
    segments = sum(len(video.segments) for video in title.videos)
    failures = find_failures(title, storage)
    finished = failures is not None
    untracked = [] if finished else untracked_videos(title, storage)
    missing = sum(len(open_jobs(video, storage)) for video in untracked)
    return TitleState(
        title=title,
        segments=segments,
        segments_done=segments - missing,
        tracked=not untracked,
        adapted=finished or storage.is_committed(title.adapt_folder),
        finished=finished,
        failed_segments=len(failures or ()),
    )
