"""The driver's books: what the titles in progress still lack, and what can start next.

They are kept here alone: no actor keeps a second copy. It knows neither Ray nor storage: the driver
enters what planning has found and what calls have returned, and starts what an entry makes due.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from vcn_ray.run.failures import Failure
from vcn_ray.run.plan import SegmentJob, TitlePlan, VideoPlan


@dataclass(slots=True, eq=False)
class OpenVideo:
    """A video that titles in progress contain."""

    plan: VideoPlan
    titles: set[str] = field(default_factory=set)  # ids of the titles that contain it
    uris: dict[str, None] = field(default_factory=dict)  # of its copies, in order
    segments: int = 0  # to be done in this run
    pending: set[int] = field(default_factory=set)  # indices of those that have not ended
    due: bool = False  # all its segments are committed: it is being tracked, or is tracked
    tracked: bool = False
    failures: tuple[Failure, ...] = ()  # of its segments; known once it is tracked
    crops: int = 0  # sampled from its tracks; known once it is tracked

    @property
    def ended(self) -> int:
        """Segments of this run that have ended."""
        return self.segments - len(self.pending)


@dataclass(slots=True, eq=False)
class OpenTitle:
    """A title in progress."""

    plan: TitlePlan
    untracked: set[str]  # ids of its videos that are not tracked yet


class Due(NamedTuple):
    """What an entry in the books makes due; each thing is due once."""

    jobs: tuple[SegmentJob, ...] = ()  # segments to be done
    videos: tuple[VideoPlan, ...] = ()  # to be tracked: all their segments are committed
    titles: tuple[TitlePlan, ...] = ()  # to be adapted: all their videos are tracked
    failures: tuple[Failure, ...] = ()  # of segments, to be reported for a copy of their video


class Books:
    """The titles in progress and their videos; a title that is closed leaves nothing behind."""

    def __init__(self) -> None:
        self._titles: dict[str, OpenTitle] = {}
        self._videos: dict[str, OpenVideo] = {}

    def __len__(self) -> int:
        """How many titles are in progress."""
        return len(self._titles)

    def __iter__(self) -> Iterator[TitlePlan]:
        """The titles in progress, in the order in which they were opened."""
        return (title.plan for title in self._titles.values())

    @property
    def untracked(self) -> int:
        """How many videos of titles in progress are not tracked yet."""
        return sum(not video.tracked for video in self._videos.values())

    def title(self, title_id: str) -> TitlePlan | None:
        """A title in progress; None where it is closed."""
        title = self._titles.get(title_id)
        return title.plan if title else None

    def video(self, video_id: str) -> OpenVideo | None:
        """A video of titles in progress; None where all of them are closed."""
        return self._videos.get(video_id)

    def crops(self, title: TitlePlan) -> int:
        """How many crops were sampled from the tracks of a title in progress."""
        return sum(self._videos[video.video_id].crops for video in title.videos)

    def open_title(self, title: TitlePlan, missing: Iterable[SegmentJob]) -> Due:
        """Enter a title.

        Args:
            title: The title, which was never opened before.
            missing: Its segments that are not committed. Those of a video that another title has
                open are known already, and are not due again.
        """
        jobs = tuple(job for job in missing if job.video_id not in self._videos)
        videos: list[OpenVideo] = []
        failures: list[Failure] = []
        for plan in title.videos:
            video = self._videos.setdefault(plan.video_id, OpenVideo(plan))
            video.titles.add(title.title_id)
            if plan.uri not in video.uris:
                video.uris[plan.uri] = None
                failures += _failures_of(video, [plan.uri])
            videos.append(video)
        for job in jobs:
            self._videos[job.video_id].pending.add(job.index)
            self._videos[job.video_id].segments += 1
        untracked = {video.plan.video_id for video in videos if not video.tracked}
        self._titles[title.title_id] = OpenTitle(title, untracked)
        complete = tuple(plan for video in videos for plan in _take_complete(video))
        return Due(jobs, complete, () if untracked else (title,), tuple(failures))

    def end_segment(self, video_id: str, segment: int, committed: bool) -> Due:
        """Enter that a segment has ended: it is committed, or failed and is not."""
        video = self._videos.get(video_id)
        if video is None:
            return Due()
        video.pending.discard(segment)
        return Due(videos=_take_complete(video) if committed else ())

    def end_tracking(self, video_id: str, failures: tuple[Failure, ...], crops: int) -> Due:
        """Enter that a video is tracked.

        Args:
            video_id: Which video.
            failures: Of the segments that its tracks lack.
            crops: How many were sampled from its tracks.
        """
        video = self._videos.get(video_id)
        # A video whose titles were closed and opened again meanwhile is tracked twice.
        if video is None or video.tracked:
            return Due()
        video.due = video.tracked = True
        video.failures, video.crops = failures, crops
        adapt = []
        for title in (self._titles[title_id] for title_id in sorted(video.titles)):
            if title.untracked == {video_id}:
                adapt.append(title.plan)
            title.untracked.discard(video_id)
        return Due(titles=tuple(adapt), failures=_failures_of(video, video.uris))

    def close_title(self, title_id: str) -> list[OpenVideo]:
        """Forget a title that is finished or failed.

        Returns:
            Its videos that no other title in progress contains, which are forgotten with it.
        """
        forgotten = []
        for plan in self._titles.pop(title_id).plan.videos:
            video = self._videos[plan.video_id]
            video.titles.discard(title_id)
            if not video.titles:
                forgotten.append(self._videos.pop(plan.video_id))
        return forgotten


def _failures_of(video: OpenVideo, uris: Iterable[str]) -> tuple[Failure, ...]:
    return tuple(replace(failure, uri=uri) for uri in uris for failure in video.failures)


def _take_complete(video: OpenVideo) -> tuple[VideoPlan, ...]:
    """The video's plan, the first time that all its segments are committed."""
    if video.due or video.pending:
        return ()
    video.due = True
    return (video.plan,)
