"""The reducer: knows which videos and titles are complete, clusters titles and commits results.

It holds nothing that storage does not hold. Started anew on another node it knows no title, which
its caller sees by the name of this life; told again which are under way, it reads in storage how
far each is. A second one beside it writes the same rows under the same keys.
"""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

from vcn_ray.config import RunConfig
from vcn_ray.io.storage import Storage
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.find import open_pack
from vcn_ray.run.commit import ClusterDone, TrackDone, commit_cluster, commit_track
from vcn_ray.run.plan import SegmentJob, TitlePlan, VideoPlan
from vcn_ray.run.state import open_jobs


class OpenedTitle(NamedTuple):
    """What is missing of a title that was not under way before."""

    jobs: list[SegmentJob]  # of all its videos
    complete: list[str]  # ids of videos that miss no segment


class Answer(NamedTuple):
    """What the reducer says."""

    life: str  # another one than before: it was started anew, and the value is none
    value: Any


class ReducerState:
    """What is still missing of the titles under way; plain Python, tested without Ray."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._segments: dict[str, set[int]] = {}  # missing, by video
        self._videos: dict[str, set[str]] = {}  # not linked yet, by title
        self._titles: dict[str, set[str]] = {}  # that hold a video, by video

    def open_title(self, title: TitlePlan, linked: frozenset[str]) -> OpenedTitle:
        """Begin to keep count of a title; what is missing is read from storage.

        A video that another title has under way already is missing nothing new.

        Args:
            title: Which one.
            linked: Ids of its videos that this run has linked already.
        """
        missing = {
            video.video_id: self._open_jobs(video)
            for video in title.videos
            if video.video_id not in self._segments
        }
        self._videos[title.title_id] = {video.video_id for video in title.videos} - linked
        for video_id, jobs in missing.items():
            self._segments[video_id] = {job.index for job in jobs}
        for video in title.videos:
            self._titles.setdefault(video.video_id, set()).add(title.title_id)
        complete = [v.video_id for v in title.videos if not self._segments[v.video_id]]
        return OpenedTitle([job for jobs in missing.values() for job in jobs], complete)

    def segment_done(self, video_id: str, segment: int) -> bool:
        """Note a committed segment; true where its video misses none now, however often asked."""
        self._segments[video_id].discard(segment)
        return not self._segments[video_id]

    def video_done(self, video_id: str) -> list[str]:
        """Note a linked video; returns its titles that miss no video now, however often asked."""
        for title_id in self._titles[video_id]:
            self._videos[title_id].discard(video_id)
        return sorted(name for name in self._titles[video_id] if not self._videos[name])

    def close_title(self, title: TitlePlan) -> None:
        """Forget a title that is over, and its videos where no other title holds them."""
        self._videos.pop(title.title_id, None)
        for video in title.videos:
            holders = self._titles.get(video.video_id, set())
            holders.discard(title.title_id)
            if not holders:
                self._titles.pop(video.video_id, None)
                self._segments.pop(video.video_id, None)

    def _open_jobs(self, video: VideoPlan) -> list[SegmentJob]:
        done = self._storage.is_committed(video.track_folder)
        return [] if done else open_jobs(video, self._storage)


class Reducer:
    """The one actor that commits results."""

    def __init__(self, config: RunConfig, output: str) -> None:
        self._life = uuid.uuid4().hex
        self._config = config
        self._storage = Storage.open(output, config.s3)
        self._state = ReducerState(self._storage)
        self._pack: FacePack = open_pack(config)

    def ask(self, life: str, method: str, *words: Any) -> Answer:
        """Call a method of the state, if it is that of the life that the caller has told.

        Who is answered from another life has to tell that one first which titles are under way.
        """
        same = life == self._life
        return Answer(self._life, getattr(self._state, method)(*words) if same else None)

    def reduce(self, title: TitlePlan) -> ClusterDone:
        """Cluster an adapted title and commit its result."""
        return commit_cluster(title, self._pack, self._config, self._storage)


def link_video(video: VideoPlan, config: RunConfig, output: str) -> TrackDone:
    """Join the segments of one video into tracks and commit them."""
    return commit_track(video, config, Storage.open(output, config.s3))
