"""The reducer: knows which videos and titles are complete, clusters titles and commits results.

It holds nothing that storage does not hold. Started anew on another node it knows no title, and
says so; told again which are under way, it reads in storage how far each is. A second one beside it
writes the same rows under the same keys.
"""

from __future__ import annotations

from typing import NamedTuple

from vcn_ray.config import RunConfig
from vcn_ray.io.storage import Storage
from vcn_ray.models.packs import FacePack, load_pack
from vcn_ray.run.plan import SegmentJob, TitlePlan, VideoPlan
from vcn_ray.run.state import open_jobs
from vcn_ray.run.steps import ResultDone, VideoDone, result_step, video_step


class OpenedTitle(NamedTuple):
    """What is missing of a title that was not under way before."""

    jobs: list[SegmentJob]  # of all its videos
    complete: list[str]  # ids of videos that miss no segment


class ReducerState:
    """What is still missing of the titles under way; plain Python, tested without Ray."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._segments: dict[str, set[int]] = {}  # missing, by video
        self._videos: dict[str, set[str]] = {}  # not linked yet, by title
        self._titles: dict[str, set[str]] = {}  # that hold a video, by video

    def open_title(self, title: TitlePlan) -> OpenedTitle:
        """Begin to keep count of a title; what is missing is read from storage.

        A video that another title has under way already is missing nothing new.
        """
        unlinked = {v.video_id for v in title.videos if not self._storage.is_committed(v.tracks)}
        self._videos[title.title_id] = unlinked
        jobs: list[SegmentJob] = []
        for video in title.videos:
            self._titles.setdefault(video.video_id, set()).add(title.title_id)
            if video.video_id not in self._segments:
                linked = video.video_id not in unlinked
                missing = [] if linked else open_jobs(video, self._storage)
                self._segments[video.video_id] = {job.index for job in missing}
                jobs += missing
        complete = [v.video_id for v in title.videos if not self._segments[v.video_id]]
        return OpenedTitle(jobs, complete)

    def segment_done(self, video_id: str, segment: int) -> bool | None:
        """Note a committed segment.

        Returns:
            True where its video misses none now, however often asked; None: it is not known.
        """
        missing = self._segments.get(video_id)
        if missing is None:
            return None
        missing.discard(segment)
        return not missing

    def video_done(self, video_id: str) -> list[str] | None:
        """Note a linked video.

        Returns:
            Its titles that miss no video now; None: it is not known.
        """
        if video_id not in self._segments:
            return None
        complete = []
        for title_id in sorted(self._titles[video_id]):
            self._videos[title_id].discard(video_id)
            if not self._videos[title_id]:
                complete.append(title_id)
        return complete

    def close_title(self, title: TitlePlan) -> None:
        """Forget a title that is over, and its videos where no other title holds them."""
        self._videos.pop(title.title_id, None)
        for video in title.videos:
            holders = self._titles.get(video.video_id, set())
            holders.discard(title.title_id)
            if not holders:
                self._titles.pop(video.video_id, None)
                self._segments.pop(video.video_id, None)


class Reducer(ReducerState):
    """The one actor that commits results."""

    def __init__(self, config: RunConfig, output: str) -> None:
        super().__init__(Storage.open(output, config.s3))
        self._config = config
        self._pack: FacePack = load_pack(config.pack, config.threads)

    def reduce(self, title: TitlePlan) -> ResultDone:
        """Cluster an adapted title and commit its result."""
        return result_step(title, self._pack, self._config, self._storage)


def link_video(video: VideoPlan, config: RunConfig, output: str) -> VideoDone:
    """Join the segments of one video into tracks and commit them."""
    return video_step(video, config, Storage.open(output, config.s3))
