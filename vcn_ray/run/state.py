"""What of a plan is there already, read from storage; it changes no table."""

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
    there = set(storage.names(video.detect_folder))  # one question instead of one for each segment
    prefix = f"{video.detect_folder}/"
    markers = (
        (job, segment_file(video.detect_folder, job.index, "seg", "json")) for job in video.jobs()
    )
    return [job for job, marker in markers if marker.removeprefix(prefix) not in there]


class FoundResult(NamedTuple):
    """A result that was there before."""

    status: TitleStatus
    failures: tuple[Failure, ...]  # what it was made without


def find_failures(title: TitlePlan, storage: Storage) -> tuple[Failure, ...] | None:
    """What a finished title was made without; None where it is not finished.

    It is where it has its result, and the tracks that a report of it shows.
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
    """The result of a title whose every stage is committed; it becomes the title's newest."""
    failures = find_failures(title, storage)
    if failures is None:
        return None
    point_to(title, storage)
    return FoundResult(read_status(title, storage, reused=True), failures)


@dataclass(frozen=True, slots=True)
class TitleState:
    """How much of a title is there."""

    title: TitlePlan
    segments: int
    segments_done: int
    tracked: bool
    adapted: bool
    finished: bool
    failed_segments: int  # of those done: they could not be read

    @property
    def seconds(self) -> float:
        """Of video."""
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
        return "go on" if self.segments_done else "everything"

    @property
    def why(self) -> str:
        """Why that is."""
        if self.failed_segments:
            which = f"without {self.failed_segments} of {self.segments} segments"
            return f"its result is there, {which}: --retry-failed tries them again"
        return {
            "nothing": "its result is there",
            "cluster again": "only settings of clustering or quality differ from an earlier run",
            "fine-tune and cluster": "its tracks are there",
            "go on": f"{self.segments_done} of {self.segments} segments are there",
            "everything": "nothing of it is there under these settings",
        }[self.action]


def look_at(title: TitlePlan, storage: Storage) -> TitleState:
    """How much of a title is there."""
    segments = sum(len(video.segments) for video in title.videos)
    failures = find_failures(title, storage)
    finished = failures is not None
    untracked = [
        video
        for video in title.videos
        if not (finished or storage.is_committed(video.track_folder))
    ]
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
