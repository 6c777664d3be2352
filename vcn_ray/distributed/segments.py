"""Segments on Ray Data: actors that decode, detect and write; only small rows flow back."""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, Dataset

from vcn_ray.config import ResourceConfig, RunConfig
from vcn_ray.distributed.feed import feed_dataset, start_feed
from vcn_ray.errors import MediaError
from vcn_ray.io.storage import Storage, one_line
from vcn_ray.run.commit import commit_detect
from vcn_ray.run.damage import segment_file
from vcn_ray.run.devices import check_decode_device, open_detecting_pack
from vcn_ray.run.failures import reason_of
from vcn_ray.run.ledger import Work
from vcn_ray.run.plan import SegmentJob
from vcn_ray.run.process import prepare_process
from vcn_ray.steps import ADAPT, DETECT, TRACK

log = logging.getLogger(__name__)

WINDOW_PER_WORKER = 8
MIN_WINDOW = 64
"""Segments that wait or are in progress, at most: with fewer, a pool that grows would find none."""
END_SECONDS = 10.0  # to wait for the dataset when a run gives up
MAX_ATTEMPTS = 3  # of one run at a segment whose process dies


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment that has ended: its output is committed, or a reason says why it is not."""

    number: int  # in the stream
    video_id: str
    uri: str
    segment: int
    reason: str = ""  # of the closed list; empty where nothing failed
    message: str = ""
    attempts: int = 1
    work: Work | None = None  # None: nothing was left to do, or it failed

    def packed(self) -> dict[str, Any]:
        """Plain columns, whose types are the same in every block, with and without work."""
        return asdict(self) | {"work": json.dumps(self.work and asdict(self.work))}

    @classmethod
    def unpacked(cls, row: dict[str, Any]) -> SegmentRow:
        """The row of `packed` columns."""
        work = json.loads(row["work"])
        return cls(**row | {"work": work and Work(**work)})


class SegmentWorker:
    """Runs the detect step on segments, one by one; loads its models once."""

    def __init__(self, config: RunConfig, output: str, run_id: str) -> None:
        prepare_process(config.threads)
        self._config = config
        self._storage = Storage.open(output, config.s3)
        self._run_id = run_id
        check_decode_device(config)
        self._pack = open_detecting_pack(config, log.warning)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Run the segment jobs of a batch, and return a SegmentRow for each."""
        rows = [self._run(row["number"], json.loads(row["job"])) for row in batch.to_pylist()]
        return pa.Table.from_pylist([row.packed() for row in rows])

    def _run(self, number: int, fields: dict[str, Any] | None) -> SegmentRow:
        if fields is None:
            return SegmentRow(number, "", "", 0)
        job = SegmentJob(**fields)
        row = SegmentRow(number, job.video_id, job.uri, job.index)
        try:
            with self._attempt(job):
                work = commit_detect(job, self._pack, self._config, self._storage)
        except Exception as error:  # a row must come back, or Ray Data ends the whole run
            attempts = getattr(error, "attempts", 1)
            return replace(row, reason=reason_of(error), message=one_line(error), attempts=attempts)
        return replace(row, work=work)

    @contextmanager
    def _attempt(self, job: SegmentJob) -> Iterator[None]:
        """Count attempts of this run in storage: Ray restarts a killed actor without limit."""
        path = segment_file(job.detect_folder, job.index, f"attempt-{self._run_id}", "json")
        storage = self._storage
        counted = storage.find_sound_json(path)
        attempts = counted["attempts"] if counted else 0
        storage.write_json(path, {"attempts": attempts + 1})
        try:
            if attempts >= MAX_ATTEMPTS:
                raise MediaError("crash", f"the process that decoded it died {attempts} times")
            yield
        finally:  # reached after errors, but not after the death of the process
            storage.delete(path)


class SegmentStream:
    """An actor pool of Ray Data that runs the detect step while more segments become known.

    The dataset runs in a thread of its own. The caller puts segments in as long as the stream has
    room, and takes out those that have ended.

    Args:
        config: Settings of the run.
        output: Where results go.
        run_id: Name of this run.
        worker: The class that does the work; another than the usual one measures overhead.

    Attributes:
        open: Segments that were put in and have not ended.
        started: Whether there are workers.
        over: True once `end` was called and all rows are taken, or the stream broke off.
    """

    def __init__(
        self,
        config: RunConfig,
        output: str,
        run_id: str,
        worker: type[SegmentWorker] = SegmentWorker,
    ) -> None:
        self.open = 0
        self.over = False
        self.started = False
        self._count = 0
        self._ended = False
        self._job = (config, output, run_id)
        self._worker = worker
        self._max_workers = config.resources.detect_workers_max or _room(config.resources)
        self._window = max(MIN_WINDOW, WINDOW_PER_WORKER * self._max_workers)
        self._feed = start_feed()
        self._rows: queue.SimpleQueue[SegmentRow | Exception | None] = queue.SimpleQueue()
        self._broken: Exception | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start workers; no more than there are segments, if `end` was called before."""
        self.started = True
        if self._ended and not self._count:
            self.over = True
            return
        resources = self._job[0].resources
        workers = min(self._max_workers, self._count) if self._ended else self._max_workers
        dataset = feed_dataset(self._feed).map_batches(
            self._worker,
            fn_constructor_args=self._job,
            compute=_pool(resources, workers),
            num_cpus=DETECT.cpus(resources),
            num_gpus=DETECT.gpus(resources) or None,
            batch_size=1,
            batch_format="pyarrow",
        )
        self._thread = threading.Thread(target=self._run, args=(dataset,), daemon=True)
        self._thread.start()

    @property
    def has_room(self) -> bool:
        """False where enough segments wait already, since each takes memory."""
        return self.open < self._window

    def put(self, jobs: list[SegmentJob]) -> None:
        """Add segments."""
        self.open += len(jobs)
        self._count += len(jobs)
        self._feed.put.remote(jobs)

    def end(self) -> None:
        """Note that no more will be put in."""
        self._ended = True
        self._feed.end.remote(self._count)

    def take(self) -> list[SegmentRow]:
        """The segments that have ended since the last call, in the order in which they ended.

        Raises:
            RuntimeError: The stream broke off; there will be no more rows.
        """
        rows: list[SegmentRow] = []
        while not (self._broken or self.over or self._rows.empty()):
            row = self._rows.get()
            if isinstance(row, SegmentRow):
                rows.append(row)
            elif row is None:
                self.over = True
            else:
                self._broken = row
        if self._broken and not rows:  # the rows before it are returned first
            self.over = True
            raise RuntimeError(f"segments broke off: {one_line(self._broken)}") from self._broken
        self.open -= len(rows)
        if rows:
            self._feed.forget.remote([row.number for row in rows])
        return rows

    def stop(self) -> None:
        """End the stream, even if segments are in progress."""
        self._stopped.set()
        # Ray Data would log in sixty lines that its feed is gone.
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        with suppress(ray.exceptions.RayError):
            ray.kill(self._feed)
        if self._thread:
            self._thread.join(END_SECONDS)

    def _run(self, dataset: Dataset) -> None:
        try:
            # Without prefetching: the newest row would wait for one more.
            for batch in dataset.iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            ):
                for row in batch.to_pylist():
                    if row["video_id"]:  # empty for a segment that had ended before
                        self._rows.put(SegmentRow.unpacked(row))
                if self._stopped.is_set():
                    break
        except Exception as error:  # raised by `take`, so that the run ends in order
            log.debug("the stream of segments broke off", exc_info=True)
            self._rows.put(error)
        else:
            self._rows.put(None)


def _pool(resources: ResourceConfig, workers: int) -> ActorPoolStrategy:
    workers = max(1, workers)
    return ActorPoolStrategy(min_size=min(resources.detect_workers_min, workers), max_size=workers)


def _room(resources: ResourceConfig) -> int:
    """How many segment workers the cluster has room for, beside trainers and track tasks."""
    total = ray.cluster_resources()
    held = resources.adapt_workers
    # A CPU is left for tracking, or videos would never be tracked.
    spare = total.get("CPU", 1.0) - held * ADAPT.cpus(resources) - TRACK.cpus(resources)
    by_cpu = int(spare / DETECT.cpus(resources))
    if not DETECT.gpus(resources):
        return by_cpu
    spare = total.get("GPU", 0.0) - held * ADAPT.gpus(resources)
    return min(by_cpu, int(spare / DETECT.gpus(resources)))
