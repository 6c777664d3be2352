"""Segments on Ray Data: actors that decode, detect and write; only small rows flow back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
import ray
import torch
from ray.data import ActorPoolStrategy

from vcn_ray.config import ResourceConfig, RunConfig
from vcn_ray.errors import MediaError
from vcn_ray.io.storage import Storage, one_line
from vcn_ray.models.packs import load_pack
from vcn_ray.run.devices import device_for
from vcn_ray.run.plan import SegmentJob, VideoPlan
from vcn_ray.run.steps import is_segment_done, reason_of, segment_file, segment_step
from vcn_ray.run.work import Work

MOST_ATTEMPTS = 3  # of one run at a segment whose process dies


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One segment is over: its output is committed, or a reason says why it is not."""

    video_id: str
    uri: str
    segment: int
    reason: str = ""  # of the closed list; empty where all went well
    message: str = ""
    attempts: int = 1
    work: Work | None = None  # None: nothing was left to do, or it failed

    def packed(self) -> dict[str, Any]:
        """Plain columns; of one type in every block, whether there is any work or not."""
        return asdict(self) | {"work": json.dumps(self.work and asdict(self.work))}

    @classmethod
    def unpacked(cls, row: dict[str, Any]) -> SegmentRow:
        """The row of `packed` columns."""
        work = json.loads(row["work"])
        return cls(**row | {"work": work and Work(**work)})


class SegmentWorker:
    """Runs the segment stage; loads its models once."""

    def __init__(self, config: RunConfig, output: str, run_id: str) -> None:
        torch.set_num_threads(config.threads)
        self._config = config
        self._storage = Storage.open(output, config.s3)
        self._run_id = run_id
        self._pack = load_pack(
            config.pack, config.threads, device_for(config.resources.segment_gpus)
        )

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Segment jobs in, a SegmentRow for each out."""
        rows = [self._run(SegmentJob(**job)) for job in batch.to_pylist()]
        return pa.Table.from_pylist([row.packed() for row in rows])

    def _run(self, job: SegmentJob) -> SegmentRow:
        row = SegmentRow(job.video_id, job.uri, job.index)
        try:
            with self._attempt(job):
                work = segment_step(job, self._pack, self._config, self._storage)
        except Exception as error:  # a row must come back, or Ray Data ends the whole run
            attempts = getattr(error, "attempts", 1)
            return replace(row, reason=reason_of(error), message=one_line(error), attempts=attempts)
        return replace(row, work=work)

    @contextmanager
    def _attempt(self, job: SegmentJob) -> Iterator[None]:
        """Count attempts of this run in storage: Ray starts a killed actor again for ever."""
        path = segment_file(job.faces, job.index, f"attempt-{self._run_id}", "json")
        storage = self._storage
        attempts = storage.read_json(path)["attempts"] if storage.exists(path) else 0
        storage.write_json(path, {"attempts": attempts + 1})
        try:
            if attempts >= MOST_ATTEMPTS:
                raise MediaError("crash", f"the process that decoded it died {attempts} times")
            yield
        finally:  # errors come here, deaths do not
            storage.delete(path)


def open_segments(videos: tuple[VideoPlan, ...], storage: Storage) -> list[SegmentJob]:
    """All segments that are not committed yet."""
    return [
        job
        for video in videos
        if not storage.is_committed(video.tracks)
        for job in video.jobs()
        if not is_segment_done(job, storage)
    ]


def run_segments(
    todo: list[SegmentJob],
    config: RunConfig,
    output: str,
    run_id: str,
    worker: type[SegmentWorker] = SegmentWorker,
) -> Iterator[SegmentRow]:
    """Run segments on an actor pool, one block each so that any free actor takes the next.

    Args:
        todo: What is not committed yet.
        config: Settings of the run.
        output: Where results go.
        run_id: Name of this run.
        worker: What does the work; another than the usual one to measure what the way to it costs.

    Yields:
        One row a segment, in the order they finish.
    """
    if not todo:
        return
    resources = config.resources
    rows = [asdict(job) for job in todo]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        worker,
        fn_constructor_args=(config, output, run_id),
        compute=_pool(resources, len(rows)),
        num_cpus=resources.segment_cpus,
        num_gpus=resources.segment_gpus or None,
        batch_size=1,
        batch_format="pyarrow",
    )
    for row in dataset.iter_rows():
        yield SegmentRow.unpacked(row)


def _pool(resources: ResourceConfig, segments: int) -> ActorPoolStrategy:
    most = resources.segment_workers_max or _room(resources)
    most = max(1, min(most, segments))
    return ActorPoolStrategy(min_size=min(resources.segment_workers_min, most), max_size=most)


def _room(resources: ResourceConfig) -> int:
    total = ray.cluster_resources()
    held = resources.adapt_workers
    spare = total.get("CPU", 1.0) - held * resources.adapt_cpus
    by_cpu = int(spare / resources.segment_cpus)
    if not resources.segment_gpus:
        return by_cpu
    spare = total.get("GPU", 0.0) - held * resources.adapt_gpus
    return min(by_cpu, int(spare / resources.segment_gpus))
