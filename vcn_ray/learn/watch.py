"""What is told and measured of a fine-tuning while it runs; it changes nothing of it."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vcn_ray.learn.settings import Progress


class Watch:
    """Seconds by step, the most memory, and who hears of progress.

    Args:
        progress: Called with a step and the share of it that is done; None: nobody.
        device: Whose memory is measured, from now on where that is a GPU.

    Attributes:
        seconds: Spent in each step so far.
    """

    def __init__(self, progress: Progress | None, device: torch.device) -> None:
        self._progress = progress
        self._device = device
        self.seconds: dict[str, float] = {}
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def tell(self, step: str, share: float) -> None:
        """Say how far a step is."""
        if self._progress is not None:
            self._progress(step, share)

    def add(self, step: str, seconds: float) -> None:
        """Count time that a step took elsewhere."""
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count the time inside as a step's; a GPU is waited for."""
        began = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.add(name, time.perf_counter() - began)

    def peak_bytes(self) -> int:
        """Most memory at a time: of a GPU, what tensors took; else what this process ever took."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
