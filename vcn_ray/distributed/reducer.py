"""The reducer: knows which videos and titles are complete, clusters titles and commits results.

It holds nothing that storage does not hold: started anew on another node it reads there how far the
run is, and a second one beside it writes the same rows under the same keys.
"""

from __future__ import annotations

from vcn_ray.config import RunConfig
from vcn_ray.distributed.segments import open_segments
from vcn_ray.io.storage import Storage
from vcn_ray.models.packs import FacePack, load_pack
from vcn_ray.run.plan import Plan, TitlePlan, VideoPlan
from vcn_ray.run.steps import (
    ResultDone,
    TitleStatus,
    VideoDone,
    point_to,
    read_status,
    result_step,
    video_step,
)


class ReducerState:
    """What is still missing of each video and title; plain Python, tested without Ray."""

    def __init__(self, plan: Plan, storage: Storage) -> None:
        self._titles = {title.title_id: title for title in plan.titles}
        self._open_segments: dict[str, set[int]] = {v.video_id: set() for v in plan.videos}
        for job in open_segments(plan.videos, storage):
            self._open_segments[job.video_id].add(job.index)
        self._open_videos = {
            title.title_id: {v.video_id for v in title.videos if not storage.is_committed(v.tracks)}
            for title in plan.titles
        }

    def complete_videos(self) -> list[str]:
        """Videos of which no segment is missing."""
        return [name for name, missing in self._open_segments.items() if not missing]

    def segment_done(self, video_id: str, segment: int) -> bool:
        """Note a committed segment; true where its video misses none now, however often asked."""
        self._open_segments[video_id].discard(segment)
        return not self._open_segments[video_id]

    def video_done(self, video_id: str) -> list[str]:
        """Note a linked video; returns the titles of it that miss no video now."""
        complete = []
        for title_id, missing in self._open_videos.items():
            missing.discard(video_id)
            if not missing and any(v.video_id == video_id for v in self._titles[title_id].videos):
                complete.append(title_id)
        return complete

    def title(self, title_id: str) -> TitlePlan:
        """The plan of a title."""
        return self._titles[title_id]


class Reducer:
    """The one actor that commits results."""

    def __init__(self, plan: Plan, config: RunConfig, output: str) -> None:
        self._config = config
        self._storage = Storage.open(output, config.s3)
        self._state = ReducerState(plan, self._storage)
        self._pack: FacePack = load_pack(config.pack, config.threads)

    def complete_videos(self) -> list[str]:
        """Videos that need no more segments."""
        return self._state.complete_videos()

    def segment_done(self, video_id: str, segment: int) -> bool:
        """Note a committed segment; true where its video is complete by it."""
        return self._state.segment_done(video_id, segment)

    def video_done(self, video_id: str) -> list[str]:
        """Note a linked video; returns ids of titles that are complete by it."""
        return self._state.video_done(video_id)

    def finished(self, title_id: str) -> TitleStatus | None:
        """How a title went that had a result before; None where it has none."""
        title = self._state.title(title_id)
        if not self._storage.is_committed(title.result):
            return None
        point_to(title, self._storage)
        return read_status(title, self._storage, reused=True)

    def reduce(self, title_id: str) -> ResultDone:
        """Cluster an adapted title and commit its result."""
        return result_step(self._state.title(title_id), self._pack, self._config, self._storage)


def link_video(video: VideoPlan, config: RunConfig, output: str) -> VideoDone:
    """Join the segments of one video into tracks and commit them."""
    return video_step(video, config, Storage.open(output, config.s3))
