"""Fine-tuning on Ray: one train step, two launchers, chosen by the size of the title.

A small title is trained by a warm actor, because a Ray Train job costs 20 to 40 seconds before its
first step; a large one gets a Ray Train job of its own, which places it on the machine it needs.
"""

from __future__ import annotations

import itertools
import logging
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import ray
import torch
import torch.distributed
from ray.train import FailureConfig, ScalingConfig, TrainingFailedError
from ray.train import RunConfig as TrainRunConfig
from ray.train.torch import TorchTrainer, get_device

from vcn_ray.config import ResourceConfig, RunConfig
from vcn_ray.errors import StorageError, VcnError
from vcn_ray.io.storage import Storage
from vcn_ray.learn.hooks import ALONE, Hooks, ProcessRanks, Ranks
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.find import open_pack
from vcn_ray.redact import one_line
from vcn_ray.run.commit import commit_adapt, read_tracks
from vcn_ray.run.damage import uncommitting
from vcn_ray.run.ledger import Stopwatch, Work
from vcn_ray.run.plan import TitlePlan
from vcn_ray.run.process import prepare_process
from vcn_ray.steps import ADAPT

log = logging.getLogger(__name__)

MAX_RESTARTS = 3
"""Times that a Ray Train job starts again whose process or machine dies, or whose storage fails."""


class ProgressBoard:
    """An actor to which trainers report their progress, and from which the driver reads it."""

    def __init__(self) -> None:
        self._progress: dict[str, float] = {}

    def put(self, subject: str, progress: float) -> None:
        """Note the progress of a title's step, from 0 to 1."""
        self._progress[subject] = progress

    def take(self) -> dict[str, float]:
        """Everything new since the last call."""
        progress, self._progress = self._progress, {}
        return progress


class TitleTrainer:
    """An actor that fine-tunes small titles one by one; it keeps the pack loaded between them."""

    def __init__(self, config: RunConfig, output: str) -> None:
        prepare_process(config.threads)
        self._config = config
        self._storage = Storage.open(output, config.s3)
        self._pack: FacePack = open_pack(config)

    def adapt(self, title: TitlePlan, board: Any) -> Work | None:
        """Fine-tune on one title; its adapted model is committed when this returns."""
        return _adapt(title, self._pack, self._config, self._storage, board)


class Training(NamedTuple):
    """A call of a trainer."""

    title_id: str
    future: Any


class TrainerPool:
    """The warm trainers of a run, and the titles that wait for one.

    Args:
        config: Settings of the run.
        output: Where results go.
        board: The actor to which trainers report their progress.
    """

    def __init__(self, config: RunConfig, output: str, board: Any) -> None:
        self._board = board
        actor = _trainer_actor(config.resources)
        self._all = [actor.remote(config, output) for _ in range(config.resources.adapt_workers)]
        self._idle = list(self._all)
        self._busy: dict[Any, Any] = {}  # trainers by the future of their call
        self._queue: deque[TitlePlan] = deque()

    @property
    def has_queue(self) -> bool:
        """True where titles wait for a trainer."""
        return bool(self._queue)

    def put(self, title: TitlePlan) -> None:
        """Queue a title."""
        self._queue.append(title)

    def start(self) -> Iterator[Training]:
        """Give each idle trainer one title: a title that kills its trainer takes no other along."""
        while self._queue and self._idle:
            title, trainer = self._queue.popleft(), self._idle.pop()
            future = trainer.adapt.remote(title, self._board)
            self._busy[future] = trainer
            yield Training(title.title_id, future)

    def release(self, future: Any) -> None:
        """Note that a call has ended; a call of something else than a trainer is ignored."""
        if future in self._busy:
            self._idle.append(self._busy.pop(future))

    def close(self) -> None:
        """Kill all trainers, whatever they are doing."""
        for trainer in self._all:
            ray.kill(trainer)


def _trainer_actor(resources: ResourceConfig) -> Any:
    return ray.remote(
        num_cpus=ADAPT.cpus(resources),
        num_gpus=ADAPT.gpus(resources),
        max_restarts=-1,
        max_task_retries=2,
    )(TitleTrainer)


def train_large(title: TitlePlan, config: RunConfig, output: str, board: Any) -> Work:
    """Fine-tune one large title as a Ray Train job, and wait for it.

    Its processes split each batch. If one of them dies, the job starts again on the machines that
    are left, and resumes from the title's checkpoint in our storage.

    Returns:
        The work of the whole job, its start included: seconds, and CPU time of the processes that
        trained. A try that failed counts in seconds alone. Bytes are not counted, as other
        processes read and write them.

    Raises:
        DamagedError: A file of its tracks is damaged; it is uncommitted.
        VcnError: What a process refused, such as another pack on its machine.
        TrainingFailedError: Processes died more often than MAX_RESTARTS.
    """
    resources, watch = config.resources, Stopwatch()
    storage = Storage.open(output, config.s3)
    with uncommitting(storage):  # here, because each job would find the same damage
        read_tracks(title, storage)
    job = {"title": title, "config": config, "output": output, "board": board}
    for restarts in itertools.count():
        try:
            computed = _run_job(job, resources)
            break
        except TrainingFailedError as error:
            refusal = refusal_of(error)
            if refusal:  # the next try would refuse it alike
                raise refusal from None
            if restarts == MAX_RESTARTS:
                raise
            log.warning("the job of %s starts again: %s", title.title_id, one_line(error, 200))
    workers = resources.adapt_job_workers
    work = watch.done(ADAPT.name, title.title_id, title.seconds, ADAPT.gpus(resources) * workers)
    return replace(work, cpu_seconds=work.cpu_seconds + computed)


def refusal_of(error: Exception) -> VcnError | None:
    """What a process of a failed job refused on purpose; None: nothing, so it may be tried again.

    Storage is no such refusal, because it may be back by the next try.
    """
    failures = getattr(error, "worker_failures", {}).values()
    return next(
        (f for f in failures if isinstance(f, VcnError) and not isinstance(f, StorageError)), None
    )


def _run_job(job: dict[str, Any], resources: ResourceConfig) -> float:
    """Run a title's job once, and return the CPU seconds of its processes.

    Ray Train's own restarts cannot tell a process that died from one that refused its work, so each
    restart is a new job here.
    """
    title: TitlePlan = job["title"]
    # Ray Train asks for storage that all machines share, but only for checkpoints that are reported
    # to it. Ours are not: all it writes is an empty file, from the job's controller, which runs on
    # the same machine as this function.
    with tempfile.TemporaryDirectory(prefix="vcn-train-") as folder:
        trainer = TorchTrainer(
            _train_loop,
            train_loop_config=job,
            scaling_config=_scaling(resources),
            run_config=TrainRunConfig(
                # New each time: a job that is retried shares no folder with the one before it.
                name=f"{title.title_id}-{uuid.uuid4().hex[:8]}",
                storage_path=folder,
                failure_config=FailureConfig(max_failures=0),
            ),
        )
        return float(trainer.fit().return_value or 0.0)


def _scaling(resources: ResourceConfig) -> ScalingConfig:
    needs = {"CPU": ADAPT.cpus(resources)}
    if ADAPT.gpus(resources):
        needs["GPU"] = ADAPT.gpus(resources)
    return ScalingConfig(
        num_workers=resources.adapt_job_workers,
        use_gpu=ADAPT.gpus(resources) > 0,
        resources_per_worker=needs,
    )


def _train_loop(job: dict[str, Any]) -> float:
    """What each process of a job does; return the CPU seconds of all."""
    config: RunConfig = job["config"]
    prepare_process(config.threads)
    several = config.resources.adapt_job_workers > 1
    if ADAPT.gpus(config.resources):
        torch.cuda.set_device(get_device())  # each process sees all GPUs of its machine
    _adapt(
        job["title"],
        open_pack(config),
        config,
        Storage.open(job["output"], config.s3),
        job["board"],
        ProcessRanks() if several else ALONE,
    )
    own = time.process_time()  # since the process was started
    spent = [own]
    if several:
        spent = [0.0] * config.resources.adapt_job_workers
        torch.distributed.all_gather_object(spent, own)
    return sum(spent)


def _adapt(
    title: TitlePlan,
    pack: FacePack,
    config: RunConfig,
    storage: Storage,
    board: Any,
    ranks: Ranks = ALONE,
) -> Work | None:
    def report(step: str, progress: float) -> None:
        board.put.remote(f"{title.title} ({step})", progress)

    hooks = Hooks(None if ranks.number else report, ranks=ranks)
    return commit_adapt(title, pack, config, storage, hooks)
