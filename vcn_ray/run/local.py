"""A run in this one process, title by title: the same steps as the distributed run, without Ray."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from vcn_ray.config import RunConfig
from vcn_ray.errors import DamagedError
from vcn_ray.io.storage import Storage
from vcn_ray.learn.hooks import Hooks
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.run.commit import commit_adapt, commit_cluster, commit_detect, commit_track
from vcn_ray.run.corrections import correct
from vcn_ray.run.damage import MAX_REDONE, Inspector
from vcn_ray.run.events import RunLog, StepProgress
from vcn_ray.run.failures import Failure, failure_of
from vcn_ray.run.plan import TitlePlan, VideoPlan
from vcn_ray.run.planning import LookedUp, log_planned
from vcn_ray.run.process import prepare_process
from vcn_ray.run.state import untracked_videos
from vcn_ray.steps import StepName

log = logging.getLogger(__name__)


@dataclass(slots=True)
class LocalExecutor:
    """Runs every open step of a catalog; the failure of one title never stops another."""

    pack: FacePack
    config: RunConfig
    storage: Storage
    run_log: RunLog

    def run(self, titles: Iterable[LookedUp]) -> None:
        """Run the titles in order; once too much has failed, no new title is begun."""
        prepare_process(self.config.threads)
        for looked in titles:
            if not log_planned(looked, self.run_log):
                break
            if looked.title:
                self._run_title(looked.title)

    def _run_title(self, title: TitlePlan) -> None:
        reported: set[Failure] = set()
        for _ in range(MAX_REDONE):
            try:
                self._attempt(title, reported)
            except DamagedError as error:  # it is uncommitted: what is sound is kept
                self._redo(title, error)
            else:
                return
        self._attempt(title, reported, last=True)

    def _redo(self, title: TitlePlan, error: DamagedError) -> None:
        """Uncommit all that is damaged beside a file that was found so, and report it."""
        inspector = Inspector(self.storage, mend=True, deep=True)
        inspector.note(error)
        for video in untracked_videos(title, inspector):
            inspector.open_jobs(video)
        inspector.usable(title.adapt_folder, title.erased)
        for each in inspector.damage.values():
            self.run_log.redo(str(each))

    def _attempt(self, title: TitlePlan, reported: set[Failure], last: bool = False) -> None:
        """Run all open steps of a title.

        Args:
            title: The title.
            reported: Failures of its segments that were reported; those of this attempt are added.
            last: Damage is a failure of the title like any other.

        Raises:
            DamagedError: A stored file is damaged where it is read, and this is not the last try.
        """
        step: StepName = "detect"
        try:
            for video in title.videos:
                self._run_video(video, reported)
            step = "adapt"
            hooks = self._hooks(title)
            self.run_log.count(commit_adapt(title, self.pack, self.config, self.storage, hooks))
            step = "cluster"
            done = commit_cluster(title, self.pack, self.config, self.storage)
            self.run_log.count(done.work)
            self.run_log.finish(correct(done.status, title, self.storage))
        except Exception as error:  # one title must never stop the others
            if isinstance(error, DamagedError) and not last:
                raise
            log.debug("step %s failed on %s", step, title.title_id, exc_info=True)
            self.run_log.fail(failure_of(title.where, step, error))

    def _run_video(self, video: VideoPlan, reported: set[Failure]) -> None:
        if not self.storage.is_committed(video.track_folder):
            for job in video.jobs():
                self._show("detect", video.video_id, job.index, len(video.segments))
                self.run_log.count(commit_detect(job, self.pack, self.config, self.storage))
            self._show("detect", video.video_id, len(video.segments), len(video.segments))
        done = commit_track(video, self.config, self.storage)
        self.run_log.count(done.work)
        for failure in done.failures:
            if failure not in reported:
                reported.add(failure)
                self.run_log.fail(failure, new=done.work is not None)

    def _hooks(self, title: TitlePlan) -> Hooks:
        return Hooks(
            lambda part, done: self._show("adapt", f"{title.title} ({part})", done, total=1.0)
        )

    def _show(self, step: StepName, subject: str, done: float, total: float) -> None:
        self.run_log.emit(StepProgress(step, subject, done, total))
