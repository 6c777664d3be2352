"""Segments on Ray Data: actors that decode, detect and write; only small rows flow back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch
from ray.data import ActorPoolStrategy

from vcn_ray.config import ResourceConfig, RunConfig
from vcn_ray.io.storage import Storage, one_line
from vcn_ray.models.packs import load_pack
from vcn_ray.run.plan import VideoPlan
from vcn_ray.run.steps import segment_file, segment_step

Batch = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One segment is over: its output is committed, or `error` says why it is not."""

    video: int
    segment: int
    error: str


class SegmentWorker:
    """Runs the segment stage; loads its models once."""

    def __init__(self, videos: Any, config: RunConfig, output: str) -> None:
        threads = max(1, round(config.resources.segment_cpus))
        torch.set_num_threads(threads)
        self._videos: tuple[VideoPlan, ...] = ray.get(videos)
        self._config = config
        self._storage = Storage.open(output)
        self._pack = load_pack(config.pack, threads=threads)

    def __call__(self, batch: Batch) -> Batch:
        """Segments by number in, the same numbers and an error text out."""
        pairs = zip(batch["video"], batch["segment"], strict=True)
        errors = [self._run(int(video), int(segment)) for video, segment in pairs]
        return {**batch, "error": np.array(errors, dtype=object)}

    def _run(self, video: int, segment: int) -> str:
        try:
            segment_step(self._videos[video], segment, self._pack, self._config, self._storage)
        except Exception as error:  # a row must come back, or Ray Data ends the whole run
            return f"{type(error).__name__}: {one_line(error)}"
        return ""


def open_segments(videos: tuple[VideoPlan, ...], storage: Storage) -> list[tuple[int, int]]:
    """Numbers of video and segment of all that is not committed yet."""
    return [
        (number, segment.index)
        for number, video in enumerate(videos)
        if not storage.is_committed(video.tracks)
        for segment in video.segments
        if not storage.exists(segment_file(video.faces, segment.index, "seg", "json"))
    ]


def run_segments(
    todo: list[tuple[int, int]], videos: tuple[VideoPlan, ...], config: RunConfig, output: str
) -> Iterator[SegmentRow]:
    """Run segments on an actor pool, one block each so that any free actor takes the next.

    Yields:
        One row a segment, in the order they finish.
    """
    if not todo:
        return
    resources = config.resources
    rows = [{"video": video, "segment": segment} for video, segment in todo]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        SegmentWorker,
        fn_constructor_args=(ray.put(videos), config, output),
        compute=_pool(resources, len(rows)),
        num_cpus=resources.segment_cpus,
        num_gpus=resources.segment_gpus or None,
        batch_size=1,
        batch_format="numpy",
    )
    for row in dataset.iter_rows():
        yield SegmentRow(int(row["video"]), int(row["segment"]), str(row["error"]))


def _pool(resources: ResourceConfig, segments: int) -> ActorPoolStrategy:
    most = resources.segment_workers_max or _room(resources)
    most = max(1, min(most, segments))
    return ActorPoolStrategy(min_size=min(resources.segment_workers_min, most), max_size=most)


def _room(resources: ResourceConfig) -> int:
    total = ray.cluster_resources()
    spare = total.get("CPU", 1.0) - resources.adapt_workers * resources.adapt_cpus
    by_cpu = int(spare / resources.segment_cpus)
    if resources.segment_gpus:
        return min(by_cpu, int(total.get("GPU", 0.0) / resources.segment_gpus))
    return by_cpu
