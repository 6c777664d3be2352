"""A run in this one process, title by title: the same steps as the distributed run, without Ray."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import torch

from vcn_ray.config import RunConfig
from vcn_ray.io.storage import Storage
from vcn_ray.learn.settings import Hooks
from vcn_ray.models.packs import FacePack
from vcn_ray.run.events import RunLog, RunOutcome, StageProgress, Watch
from vcn_ray.run.plan import Plan, TitlePlan, VideoPlan
from vcn_ray.run.steps import (
    TitleStatus,
    adapt_step,
    failure_of,
    point_to,
    read_status,
    result_step,
    segment_step,
    video_step,
)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class LocalRun:
    """Runs a plan; failures of one title never stop the others."""

    plan: Plan
    pack: FacePack
    config: RunConfig
    storage: Storage
    watch: Watch
    max_failures: int | None = None  # of videos; after more, no new title is begun
    _log: RunLog = field(init=False)

    def run(self) -> RunOutcome:
        """Do all that is not done yet."""
        torch.set_num_threads(self.config.threads)
        self._log = RunLog(self.watch, max_failures=self.max_failures)
        for failure in self.plan.failures:
            self._log.fail(failure)
        for title in self.plan.titles:
            if self._log.gave_up:
                break
            status = self._title(title)
            if status is not None:
                self._log.finish(status)
        return self._log.outcome()

    def _title(self, title: TitlePlan) -> TitleStatus | None:
        stage = "faces"
        try:
            for video in title.videos:
                self._video(video)
            if self.storage.is_committed(title.result):
                point_to(title, self.storage)
                return read_status(title, self.storage, reused=True)
            stage = "adapt"
            hooks = self._hooks(title)
            self._log.count(adapt_step(title, self.pack, self.config, self.storage, hooks))
            stage = "result"
            result = result_step(title, self.pack, self.config, self.storage)
            self._log.count(result.work)
            return result.status
        except Exception as error:  # one title must never stop the others
            log.debug("title %s failed in stage %s", title.title_id, stage, exc_info=True)
            self._log.fail(failure_of(title, stage, error))
            return None

    def _video(self, video: VideoPlan) -> None:
        if not self.storage.is_committed(video.tracks):
            for job in video.jobs():
                self._tell("faces", video.video_id, job.index, len(video.segments))
                self._log.count(segment_step(job, self.pack, self.config, self.storage))
            self._tell("faces", video.video_id, len(video.segments), len(video.segments))
        linked = video_step(video, self.config, self.storage)
        self._log.count(linked.work)
        for failure in linked.failures:
            self._log.fail(failure, new=linked.work is not None)

    def _hooks(self, title: TitlePlan) -> Hooks:
        return Hooks(lambda step, share: self._tell("adapt", f"{title.title} ({step})", share, 1.0))

    def _tell(self, stage: str, subject: str, done: float, total: float) -> None:
        self._log.tell(StageProgress(stage, subject, done, total))
