"""A run in this one process, title by title: the same steps as the distributed run, without Ray."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from vcn_ray.config import RunConfig
from vcn_ray.io.storage import Storage
from vcn_ray.learn.settings import Hooks
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.run.commit import adapt_step, failure_of, result_step, segment_step, video_step
from vcn_ray.run.events import RunLog, StageProgress
from vcn_ray.run.plan import TitlePlan, VideoPlan
from vcn_ray.run.planning import LookedUp, log_planned

log = logging.getLogger(__name__)


@dataclass(slots=True)
class LocalRun:
    """Runs a plan; failures of one title never stop the others."""

    pack: FacePack
    config: RunConfig
    storage: Storage
    told: RunLog

    def run(self, titles: Iterable[LookedUp]) -> None:
        """Do all that is not done yet; no new title is begun once too much has failed."""
        torch.set_num_threads(self.config.threads)
        for looked in titles:
            if not log_planned(looked, self.told):
                break
            if looked.title:
                self._title(looked.title)

    def _title(self, title: TitlePlan) -> None:
        stage = "faces"
        try:
            for video in title.videos:
                self._video(video)
            stage = "adapt"
            hooks = self._hooks(title)
            self.told.count(adapt_step(title, self.pack, self.config, self.storage, hooks))
            stage = "result"
            result = result_step(title, self.pack, self.config, self.storage)
            self.told.count(result.work)
            self.told.finish(result.status)
        except Exception as error:  # one title must never stop the others
            log.debug("title %s failed in stage %s", title.title_id, stage, exc_info=True)
            self.told.fail(failure_of(title, stage, error))

    def _video(self, video: VideoPlan) -> None:
        if not self.storage.is_committed(video.tracks):
            for job in video.jobs():
                self._tell("faces", video.video_id, job.index, len(video.segments))
                self.told.count(segment_step(job, self.pack, self.config, self.storage))
            self._tell("faces", video.video_id, len(video.segments), len(video.segments))
        linked = video_step(video, self.config, self.storage)
        self.told.count(linked.work)
        for failure in linked.failures:
            self.told.fail(failure, new=linked.work is not None)

    def _hooks(self, title: TitlePlan) -> Hooks:
        return Hooks(lambda step, share: self._tell("adapt", f"{title.title} ({step})", share, 1.0))

    def _tell(self, stage: str, subject: str, done: float, total: float) -> None:
        self.told.tell(StageProgress(stage, subject, done, total))
