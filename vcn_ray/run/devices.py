"""Where networks run: on the GPU if one was asked for, and never silently elsewhere."""

from __future__ import annotations

import os

import torch

from vcn_ray.errors import UsageError


def count_cpus() -> int:
    """CPUs that this process may use."""
    there = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return len(there) or os.cpu_count() or 1


def device_for(gpus: float) -> str:
    """The torch device of a worker.

    Args:
        gpus: The worker's fraction of a GPU, as in the settings.

    Raises:
        UsageError: A GPU was asked for and torch sees none.
    """
    if not gpus:
        return "cpu"
    if not torch.cuda.is_available():
        raise UsageError(
            f"the settings ask for {gpus:g} GPU a worker, but torch sees none here: set "
            "resources.detect_gpus and resources.adapt_gpus to 0, or install torch with CUDA"
        )
    return "cuda"
