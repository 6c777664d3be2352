"""Fine-tuning on Ray: one train step, two launchers, chosen by the size of the title.

A small title is trained by a warm actor, because a Ray Train job costs 20 to 40 seconds before its
first step; a large one gets a Ray Train job of its own, which places it on the machine it needs.
"""

from __future__ import annotations

import uuid
from typing import Any

import torch
from ray.train import RunConfig as TrainRunConfig
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer

from vcn_ray.config import RunConfig
from vcn_ray.io.storage import Storage
from vcn_ray.models.packs import FacePack, load_pack
from vcn_ray.run.plan import TitlePlan
from vcn_ray.run.steps import adapt_step


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
        self._pack: FacePack = load_pack(config.pack, config.threads)

    def adapt(self, title: TitlePlan, board: Any) -> str:
        """Fine-tune on one title; its adapted model is committed when this returns its id."""
        _adapt(title, self._pack, self._config, self._storage, board)
        return title.title_id


def train_large(title: TitlePlan, config: RunConfig, output: str, board: Any) -> str:
    """Fine-tune one large title as a Ray Train job, and wait for it."""
    resources = config.resources
    storage = Storage.open(output, config.s3)
    trainer = TorchTrainer(
        _train_loop,
        train_loop_config={"title": title, "config": config, "output": output, "board": board},
        scaling_config=ScalingConfig(
            num_workers=1,
            use_gpu=resources.adapt_gpus > 0,
            resources_per_worker={"CPU": resources.adapt_cpus}
            | ({"GPU": resources.adapt_gpus} if resources.adapt_gpus else {}),
        ),
        # A Ray Train run that finished under a name does nothing when asked again: names are new.
        run_config=TrainRunConfig(
            name=f"{title.title_id}-{uuid.uuid4().hex[:8]}",
            storage_path=storage.inner_path("train"),
            storage_filesystem=storage.filesystem,
        ),
    )
    trainer.fit()
    return title.title_id


def _train_loop(job: dict[str, Any]) -> None:
    config: RunConfig = job["config"]
    torch.set_num_threads(config.threads)
    _adapt(
        job["title"],
        load_pack(config.pack, config.threads),
        config,
        Storage.open(job["output"], config.s3),
        job["board"],
    )


def _adapt(
    title: TitlePlan, pack: FacePack, config: RunConfig, storage: Storage, board: Any
) -> None:
    adapt_step(
        title,
        pack,
        config,
        storage,
        lambda step, share: board.put.remote(f"{title.title} ({step})", share),
    )
