"""A run in this one process, title by title: the same steps as the distributed run, without Ray."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from vcn_ray.config import RunConfig
from vcn_ray.io.storage import Storage
from vcn_ray.learn.hooks import Hooks
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.run.commit import commit_adapt, commit_cluster, commit_detect, commit_track
from vcn_ray.run.events import RunLog, StepProgress
from vcn_ray.run.failures import failure_of
from vcn_ray.run.plan import TitlePlan, VideoPlan
from vcn_ray.run.planning import LookedUp
from vcn_ray.run.state import FoundResult

log = logging.getLogger(__name__)


def tell_finished(titles: Iterator[LookedUp], told: RunLog) -> Iterator[LookedUp] | None:
    """Tell of titles whose results are there, up to the first that has something to do.

    Returns:
        That title and all after it; None where there is none, or too much has failed.
    """
    for looked in titles:
        if looked.title and looked.found is None:
            return itertools.chain([looked], titles)
        if not tell(looked, told):
            return None
    return None


def tell(looked: LookedUp, told: RunLog) -> bool:
    """Tell what came of looking at a title; False where too much has failed to go on."""
    told.plan(looked.planned)
    if told.gave_up:
        return False
    if isinstance(looked.found, FoundResult):
        told.reuse(looked.found)
    elif looked.title and looked.found:
        told.fail(failure_of(looked.title.where, "cluster", looked.found))
    return not told.gave_up


@dataclass(slots=True)
class LocalExecutor:
    """Runs a plan; failures of one title never stop the others."""

    pack: FacePack
    config: RunConfig
    storage: Storage
    told: RunLog

    def run(self, titles: Iterable[LookedUp]) -> None:
        """Do all that is not done yet; no new title is begun once too much has failed."""
        torch.set_num_threads(self.config.threads)
        for looked in titles:
            if not tell(looked, self.told):
                break
            if looked.title and looked.found is None:
                self._title(looked.title)

    def _title(self, title: TitlePlan) -> None:
        stage = "detect"
        try:
            for video in title.videos:
                self._video(video)
            stage = "adapt"
            hooks = self._hooks(title)
            self.told.count(commit_adapt(title, self.pack, self.config, self.storage, hooks))
            stage = "cluster"
            result = commit_cluster(title, self.pack, self.config, self.storage)
            self.told.count(result.work)
            self.told.finish(result.status)
        except Exception as error:  # one title must never stop the others
            log.debug("title %s failed in stage %s", title.title_id, stage, exc_info=True)
            self.told.fail(failure_of(title.where, stage, error))

    def _video(self, video: VideoPlan) -> None:
        if not self.storage.is_committed(video.track_folder):
            for job in video.jobs():
                self._tell("detect", video.video_id, job.index, len(video.segments))
                self.told.count(commit_detect(job, self.pack, self.config, self.storage))
            self._tell("detect", video.video_id, len(video.segments), len(video.segments))
        linked = commit_track(video, self.config, self.storage)
        self.told.count(linked.work)
        for failure in linked.failures:
            self.told.fail(failure, new=linked.work is not None)

    def _hooks(self, title: TitlePlan) -> Hooks:
        return Hooks(lambda step, share: self._tell("adapt", f"{title.title} ({step})", share, 1.0))

    def _tell(self, stage: str, subject: str, done: float, total: float) -> None:
        self.told.tell(StepProgress(stage, subject, done, total))
