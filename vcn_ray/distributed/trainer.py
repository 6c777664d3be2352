"""Fine-tuning on Ray: one train step, two launchers, chosen by the size of the title.

A small title is trained by a warm actor, because a Ray Train job costs 20 to 40 seconds before its
first step; a large one gets a Ray Train job of its own, which places it on the machine it needs.
"""

from __future__ import annotations

import uuid
from typing import Any

import torch
from ray.train import FailureConfig, ScalingConfig
from ray.train import RunConfig as TrainRunConfig
from ray.train.torch import TorchTrainer, get_device

from vcn_ray.config import RunConfig
from vcn_ray.io.storage import Storage
from vcn_ray.learn.hooks import ALONE, Hooks, ProcessRanks, Ranks
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.find import open_pack
from vcn_ray.run.commit import commit_adapt
from vcn_ray.run.ledger import Stopwatch, Work
from vcn_ray.run.plan import TitlePlan

MOST_RESTARTS = 3
"""Times that a Ray Train job whose process or machine dies starts again."""


class ProgressBoard:
    """Where trainers say how far they are, for the driver to look at."""

    def __init__(self) -> None:
        self._shares: dict[str, float] = {}

    def put(self, subject: str, share: float) -> None:
        """Note the share done of a title's step."""
        self._shares[subject] = share

    def take(self) -> dict[str, float]:
        """All that is new since the last call."""
        shares, self._shares = self._shares, {}
        return shares


class TitleTrainer:
    """Fine-tunes small titles, one at a time; keeps the pack loaded between them."""

    def __init__(self, config: RunConfig, output: str) -> None:
        torch.set_num_threads(config.threads)
        self._config = config
        self._storage = Storage.open(output, config.s3)
        self._pack: FacePack = open_pack(config)

    def adapt(self, title: TitlePlan, board: Any) -> Work | None:
        """Fine-tune on one title; its adapted model is committed when this returns."""
        return _adapt(title, self._pack, self._config, self._storage, board)


def train_large(title: TitlePlan, config: RunConfig, output: str, board: Any) -> Work:
    """Fine-tune one large title as a Ray Train job, and wait for it.

    Its processes split each batch. What ends one of them ends the job, which starts again on the
    machines that are left and goes on from the title's checkpoint in storage.

    Returns:
        What it took, the start of the job with it; bytes are those of other processes.
    """
    resources, watch = config.resources, Stopwatch()
    storage = Storage.open(output, config.s3)
    trainer = TorchTrainer(
        _train_loop,
        train_loop_config={"title": title, "config": config, "output": output, "board": board},
        scaling_config=ScalingConfig(
            num_workers=resources.adapt_job_workers,
            use_gpu=resources.adapt_gpus > 0,
            resources_per_worker={"CPU": resources.adapt_cpus}
            | ({"GPU": resources.adapt_gpus} if resources.adapt_gpus else {}),
        ),
        # A Ray Train run that finished under a name does nothing when asked again: names are new.
        run_config=TrainRunConfig(
            name=f"{title.title_id}-{uuid.uuid4().hex[:8]}",
            storage_path=storage.inner_path("train"),
            storage_filesystem=storage.filesystem,
            failure_config=FailureConfig(max_failures=MOST_RESTARTS),
        ),
    )
    trainer.fit()
    return watch.done("adapt", title.title_id, resources.adapt_gpus * resources.adapt_job_workers)


def _train_loop(job: dict[str, Any]) -> None:
    config: RunConfig = job["config"]
    torch.set_num_threads(config.threads)
    several = config.resources.adapt_job_workers > 1
    if config.resources.adapt_gpus:
        torch.cuda.set_device(get_device())  # each process sees all GPUs of its machine
    _adapt(
        job["title"],
        open_pack(config),
        config,
        Storage.open(job["output"], config.s3),
        job["board"],
        ProcessRanks() if several else ALONE,
    )


def _adapt(
    title: TitlePlan,
    pack: FacePack,
    config: RunConfig,
    storage: Storage,
    board: Any,
    ranks: Ranks = ALONE,
) -> Work | None:
    def progress(step: str, share: float) -> None:
        board.put.remote(f"{title.title} ({step})", share)

    hooks = Hooks(None if ranks.number else progress, ranks=ranks)
    return commit_adapt(title, pack, config, storage, hooks)
