"""Calls a function for many items on a Ray cluster, in order and with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import ray

from vcn_ray.config import RunConfig
from vcn_ray.distributed.session import cluster

S = TypeVar("S")
T = TypeVar("T")
U = TypeVar("U")

TASKS = 4  # that run or wait for each CPU
MAX_ITEMS = 16  # that one task does, where there are many more than CPUs


@contextmanager
def ray_mapper(config: RunConfig) -> Iterator[Callable[..., Iterator[Any]]]:
    """Join a cluster, or start one, and give a function like `run.parallel.map_shared`.

    What all calls share is put into the object store once. An error of a call is raised here.

    Raises:
        UsageError: No cluster can be joined or started.
    """
    with cluster(config.resources):
        yield map_on_ray


def map_on_ray(work: Callable[[S, T], U], shared: S, items: Sequence[T]) -> Iterator[U]:
    """Call `work(shared, item)` for each item in tasks of the cluster, in order."""
    stored = ray.put(shared)
    task = ray.remote(num_cpus=1, max_retries=3)(_do_all)
    waiting: deque[Any] = deque()
    source = iter(items)
    room = max(2, int(TASKS * ray.cluster_resources().get("CPU", 1)))
    size = max(1, min(MAX_ITEMS, len(items) // room))
    while True:
        while len(waiting) < room and (some := list(islice(source, size))):
            waiting.append(task.remote(work, stored, some))
        if not waiting:
            return
        yield from ray.get(waiting.popleft())


def _do_all(work: Callable[[S, T], U], shared: S, items: list[T]) -> list[U]:
    return [work(shared, item) for item in items]
