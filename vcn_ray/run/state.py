"""Which outputs of a plan exist already, read from storage; it changes no table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from vcn_ray.errors import DamagedError
from vcn_ray.io.storage import Storage
from vcn_ray.run.commit import failures_in
from vcn_ray.run.corrections import correct
from vcn_ray.run.damage import Inspector
from vcn_ray.run.failures import Failure
from vcn_ray.run.plan import TitlePlan, VideoPlan
from vcn_ray.run.status import TitleStatus, point_to, read_status


def untracked_videos(title: TitlePlan, inspector: Inspector) -> list[VideoPlan]:
    """The videos of a title whose tracks are not committed, or damaged."""
    return [
        video
        for video in title.videos
        if inspector.usable(video.track_folder, video.erased) is None
    ]


class FoundResult(NamedTuple):
    """A result of an earlier run."""

    status: TitleStatus
    failures: tuple[Failure, ...]  # the segments that the result lacks


def find_failures(title: TitlePlan, inspector: Inspector) -> tuple[Failure, ...] | None:
    """The segments that the result of a finished title lacks; None where it is not finished.

    A title is finished once its result is committed, and the tracks that a report of it shows. What
    is damaged is not.
    """
    result = inspector.manifest(title.cluster_folder)
    if result is None or not inspector.is_honoured(title.cluster_folder, result, title.erased):
        return None
    failures: tuple[Failure, ...] = ()
    for video in title.videos:
        manifest = inspector.manifest(video.track_folder)
        if manifest is None or not inspector.is_honoured(
            video.track_folder, manifest, video.erased
        ):
            return None
        failures += failures_in(manifest, video)
    return failures


def find_result(title: TitlePlan, storage: Storage, inspector: Inspector) -> FoundResult | None:
    """The result of a finished title, which becomes the title's newest; None if not finished."""
    failures = find_failures(title, inspector)
    if failures is None:
        return None
    try:
        status = read_status(title, storage, reused=True)
        point_to(title, storage)
        status = correct(status, title, storage)
    except DamagedError as error:
        inspector.note(error)
        return None
    return FoundResult(status, failures)


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
    damaged: tuple[str, ...] = ()  # files, below the output
    unusable: tuple[str, ...] = ()  # why what is there cannot be used

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
        if self.unusable:
            return "; ".join(self.unusable)
        if self.damaged:
            return f"damaged: {', '.join(self.damaged)}"
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
    inspector = Inspector(storage, mend=False)
    failures = find_failures(title, inspector)
    finished = failures is not None
    untracked = [] if finished else untracked_videos(title, inspector)
    missing = sum(len(inspector.open_jobs(video)) for video in untracked)
    adapted = finished or inspector.usable(title.adapt_folder, title.erased) is not None
    return TitleState(
        title=title,
        segments=segments,
        segments_done=segments - missing,
        tracked=not untracked,
        adapted=adapted,
        finished=finished,
        failed_segments=len(failures or ()),
        damaged=tuple(path for path in inspector.damage if path not in inspector.unusable),
        unusable=tuple(dict.fromkeys(inspector.unusable.values())),
    )
