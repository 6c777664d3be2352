"""What of a plan is already done, and how long the rest should take; it changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from vcn_ray.io.storage import Storage
from vcn_ray.run.plan import Plan, TitlePlan
from vcn_ray.run.steps import is_segment_done


@dataclass(frozen=True, slots=True)
class TitleState:
    """How much of a title is there."""

    title: TitlePlan
    segments: int
    segments_done: int
    tracked: bool
    adapted: bool
    finished: bool

    @property
    def action(self) -> str:
        """What a run would do, and why, in words."""
        if self.finished:
            return "nothing: its result is there"
        if self.adapted:
            return "cluster again: only clustering or quality settings differ from an earlier run"
        if self.tracked:
            return "fine-tune and cluster: its tracks are there"
        if self.segments_done:
            return f"go on: {self.segments_done} of {self.segments} segments are there"
        return "everything: nothing of it is there under these settings"


def look_at(plan: Plan, storage: Storage) -> list[TitleState]:
    """The state of every title of a plan."""
    return [_state(title, storage) for title in plan.titles]


def _state(title: TitlePlan, storage: Storage) -> TitleState:
    finished = storage.is_committed(title.result)
    markers = [
        finished or is_segment_done(job, storage) for video in title.videos for job in video.jobs()
    ]
    return TitleState(
        title=title,
        segments=len(markers),
        segments_done=sum(markers),
        tracked=all(storage.is_committed(video.tracks) for video in title.videos),
        adapted=storage.is_committed(title.adapted),
        finished=finished,
    )


def estimate_seconds(states: list[TitleState], storage: Storage) -> float | None:
    """Wall seconds that the rest should take, by the pace of the last ten runs into this output.

    Returns:
        None where no earlier run did enough to tell.
    """
    paces: list[tuple[float, float]] = []
    for name in storage.names("runs")[::-1][:10]:
        path = f"runs/{name}/run.json"
        if not storage.exists(path):  # a run that was killed left no record
            continue
        record = storage.read_json(path)
        if record["video_seconds"] > 0:
            paces.append((record["seconds"], record["video_seconds"]))
    if not paces:
        return None
    pace = sum(p[0] for p in paces) / sum(p[1] for p in paces)
    left = sum(
        video.info.duration_seconds * (1 - state.segments_done / max(state.segments, 1))
        for state in states
        if not state.finished
        for video in state.title.videos
    )
    return pace * left
