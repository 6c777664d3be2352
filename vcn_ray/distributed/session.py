"""Starting or joining a Ray cluster for the length of a run."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import ray
from ray.data import DataContext

from vcn_ray.config import ResourceConfig
from vcn_ray.distributed.private import on_loopback, own_folder, protect_token
from vcn_ray.errors import UsageError
from vcn_ray.redact import one_line
from vcn_ray.run.devices import count_cpus

JOIN_SECONDS = 10.0
"""For which a cluster may take to accept a connection."""

NO_PROGRESS_SECONDS = 7 * 24 * 3600
"""Ray Data gives up after 30 minutes without a row; a segment may wait longer for a machine."""


@contextmanager
def cluster(resources: ResourceConfig) -> Iterator[None]:
    """Join the cluster of `RAY_ADDRESS`, or start one on this machine and end it afterwards.

    If this process is connected to a cluster already, that one is used and left alone.

    Raises:
        UsageError: No cluster can be joined or started, or this machine has no room for the run.
    """
    with ExitStack() as ending:
        if not ray.is_initialized():
            with _own_sigterm():
                _start(resources, ending)
        # A dataset keeps the context in which it is made, so the context is set before any dataset.
        context = DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context.execution_options.verbose_progress = False
        context.execution_no_progress_timeout_s = NO_PROGRESS_SECONDS
        yield


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep the program's own handler of SIGTERM, which Ray replaces by a plain exit."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _silenced() -> Iterator[None]:
    """Hide what C++ code writes to the terminal; errors are still raised as exceptions."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _start(resources: ResourceConfig, ending: ExitStack) -> None:
    # Ray's C++ side warns of how Ray Data starts its actors, and logs that it was silenced.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    address = os.environ.get("RAY_ADDRESS")
    protect_token(create=not address)
    if address:
        _join(address, quiet)
        ending.callback(ray.shutdown)
        return
    # Fine-tuning gets room beside the segment workers, so that it overlaps with decoding.
    cores = count_cpus()
    room = round(resources.adapt_workers * resources.adapt_cpus + 0.5)
    ending.enter_context(on_loopback())
    folder = ending.enter_context(own_folder())
    ending.callback(ray.shutdown)
    try:
        with _silenced():
            ray.init(
                address="local",
                num_cpus=cores + room,
                include_dashboard=False,
                _temp_dir=str(folder),
                **quiet,
            )
    except Exception as error:  # Ray's errors of its many processes share no base class
        raise UsageError(
            f"Ray cannot start on this machine ({one_line(error, 200)}): check it with vcn doctor, "
            "or use --local, which needs no Ray"
        ) from error
    check_room(resources, ray.cluster_resources())


def _join(address: str, quiet: dict[str, Any]) -> None:
    """Join the cluster of RAY_ADDRESS.

    Raises:
        UsageError: There is none.
    """
    if address.startswith(("http://", "https://")):
        raise UsageError(
            f"RAY_ADDRESS is {address}, which is for ray job: submit jobs/index.py there, set it "
            "to auto or host:6379 to join a cluster, or unset it to start Ray on this machine"
        )
    try:
        _check_answers(address)
        with _silenced():
            ray.init(**quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"no Ray cluster can be joined at RAY_ADDRESS {address} ({one_line(error, 200)}): "
            "unset it to start Ray on this machine"
        ) from error


def _check_answers(address: str) -> None:
    """Check that something listens at `host:port`; Ray would knock there for twenty minutes.

    Raises:
        OSError: Nothing does.
    """
    host, _, port = address.rpartition(":")
    if port.isdigit() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), JOIN_SECONDS).close()


def check_room(resources: ResourceConfig, available: dict[str, float]) -> None:
    """Check that this machine has room for a run, which would otherwise wait without a word.

    Trainers hold their resources for as long as the run lasts. Beside them there must be room for a
    segment worker, and for the job of a large title.

    Args:
        resources: The resources that the settings ask for.
        available: The resources of the machine, by Ray's names.

    Raises:
        UsageError: The machine has less.
    """
    for unit, kind in (("cpus", "CPU"), ("gpus", "GPU")):
        adapt, segment = (getattr(resources, f"{name}_{unit}") for name in ("adapt", "detect"))
        held = resources.adapt_workers * adapt
        wanted = held + max(segment, resources.adapt_job_workers * adapt)
        found = available.get(kind, 0.0)
        if wanted > found:
            raise UsageError(
                f"there is room for {found:g} {kind}, and the settings ask for {wanted:g}: "
                f"{held:g} by trainers (resources.adapt_workers times adapt_{unit}), and beside "
                f"them the larger of detect_{unit} and adapt_job_workers times adapt_{unit}; lower "
                "these, or join a larger cluster by RAY_ADDRESS"
            )
