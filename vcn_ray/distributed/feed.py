"""A dataset that grows while it is read: segments that become known while others are in progress.

Ray Data wants to know its whole input before it starts. So it gets a single read task, which asks
an actor for the next segments until there are no more. Both stay on the driver's machine, so they
are lost only if the driver is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import ray
from ray.data import DataContext, Dataset, Datasource, ReadTask
from ray.data.block import BlockMetadata

from vcn_ray.run.plan import SegmentJob

MAX_ANSWER = 100  # segments in one answer


class SegmentFeed:
    """Holds segments from when they are known until they have ended; an actor of the driver's node.

    Segments are numbered as they come. One that has ended is forgotten: if the read task restarts,
    it gets None in its place, so that all numbers stay the same.
    """

    def __init__(self) -> None:
        self._open: dict[int, SegmentJob] = {}
        self._count = 0
        self._end: int | None = None
        self._news = asyncio.Event()

    async def put(self, jobs: list[SegmentJob]) -> None:
        """Add segments."""
        self._open.update(enumerate(jobs, self._count))
        self._count += len(jobs)
        self._news.set()

    async def end(self, count: int) -> None:
        """Mark the feed complete at `count` segments; actor calls may arrive out of order."""
        self._end = count
        self._news.set()

    async def forget(self, numbers: list[int]) -> None:
        """Drop segments that have ended."""
        for number in numbers:
            self._open.pop(number, None)

    async def take(self, start: int) -> list[SegmentJob | None] | None:
        """The segments from number `start` on, as soon as there are any; None at the end."""
        while self._count <= start:
            if self._count == self._end:
                return None
            self._news.clear()
            await self._news.wait()
        return [self._open.get(n) for n in range(start, min(start + MAX_ANSWER, self._count))]


def start_feed() -> Any:
    """Start a SegmentFeed on the driver's node."""
    return ray.remote(num_cpus=0, label_selector=_here())(SegmentFeed).remote()


def feed_dataset(feed: Any) -> Dataset:
    """The segments of a feed, one row in a block each, so that any free actor takes the next.

    Rows have `number`, and `job`: the fields of a SegmentJob as JSON, or null.
    """
    context = DataContext.get_current()
    usual = context.target_max_block_size
    context.target_max_block_size = 1  # byte, so no row waits for another; a dataset keeps it
    try:
        return ray.data.read_datasource(
            _Source(feed), override_num_blocks=1, num_cpus=0, label_selector=_here()
        )
    finally:
        context.target_max_block_size = usual


def _here() -> dict[str, str]:
    return {"ray.io/node-id": ray.get_runtime_context().get_node_id()}


class _Source(Datasource):  # type: ignore[misc]  # Ray's class has no types
    def __init__(self, feed: Any) -> None:
        super().__init__()
        self._feed = feed

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: DataContext | None = None,
    ) -> list[ReadTask]:
        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(_reading(self._feed), unknown)]


def _reading(feed: Any) -> Callable[[], Iterator[pa.Table]]:
    def read() -> Iterator[pa.Table]:
        number = 0
        while (jobs := ray.get(feed.take.remote(number))) is not None:
            for job in jobs:
                text = json.dumps(job and asdict(job))
                yield pa.table({"number": [number], "job": [text]})
                number += 1

    return read
