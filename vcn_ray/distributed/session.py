"""Starting or joining a Ray cluster for the length of a run."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.data import DataContext

from vcn_ray.config import ResourceConfig
from vcn_ray.errors import UsageError
from vcn_ray.run.devices import count_cpus

NO_PROGRESS_SECONDS = (
    7 * 24 * 3600
)  # Ray Data gives up after 30 min without a row; a segment may wait


@contextmanager
def cluster(resources: ResourceConfig) -> Iterator[None]:
    """Join the cluster of `RAY_ADDRESS`, or start one on this machine and end it afterwards.

    A Ray that is already up in this process is used and left alone.
    """
    started = not ray.is_initialized()
    if started:
        with _own_sigterm():
            _start(resources)
    # A dataset keeps the context it was made in, so this comes before any dataset.
    context = DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context.execution_options.verbose_progress = False
    context.execution_no_progress_timeout_s = NO_PROGRESS_SECONDS
    try:
        yield
    finally:
        if started:
            ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep what the program does on SIGTERM; Ray puts a plain exit in its place."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep off the terminal what is written below Python; errors still come as exceptions."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _start(resources: ResourceConfig) -> None:
    # Ray's C++ side warns of how Ray Data starts its actors, and tells that it was asked not to.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if os.environ.get("RAY_ADDRESS"):
        with _silenced():
            ray.init(**quiet)
        return
    # Fine-tuning gets room beside the segment workers, so that it overlaps with decoding.
    cores = count_cpus()
    room = round(resources.adapt_workers * resources.adapt_cpus + 0.5)
    with _silenced():
        ray.init(address="local", num_cpus=cores + room, include_dashboard=False, **quiet)
    try:
        check_room(resources, ray.cluster_resources())
    except UsageError:
        ray.shutdown()
        raise


def check_room(resources: ResourceConfig, there: dict[str, float]) -> None:
    """A machine of our own does not grow: what does not fit would be waited for in silence.

    Trainers hold what is set aside for them as long as the run lasts; beside them there must be
    room for a segment worker, and for the job of a large title.

    Args:
        resources: What is asked for.
        there: What the machine has, by Ray's names.

    Raises:
        UsageError: It has less.
    """
    for unit, kind in (("cpus", "CPU"), ("gpus", "GPU")):
        adapt, segment = (getattr(resources, f"{name}_{unit}") for name in ("adapt", "detect"))
        held = resources.adapt_workers * adapt
        wanted = held + max(segment, resources.adapt_job_workers * adapt)
        if wanted > there.get(kind, 0.0):
            raise UsageError(
                f"there is room for {there.get(kind, 0.0):g} {kind}, and {wanted:g} are asked for: "
                f"{held:g} by trainers (resources.adapt_workers times adapt_{unit}), and beside "
                f"them the larger of detect_{unit} and adapt_job_workers times adapt_{unit}; lower "
                "these, or join a larger cluster by RAY_ADDRESS"
            )
