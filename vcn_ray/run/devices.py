"""Where networks run and videos are decoded: on a GPU if one was asked for, never silently not."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from vcn_ray.config import ResourceConfig, RunConfig
from vcn_ray.errors import DeviceError, UsageError
from vcn_ray.io.isolation import device_problem
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.find import open_pack
from vcn_ray.redact import one_line
from vcn_ray.steps import DETECT

GPU = "cuda"  # how the names of GPUs begin


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


def open_detecting_pack(config: RunConfig, say: Callable[[str], None]) -> FacePack:
    """Load the pack of the settings, its detector on the GPU that they reserve.

    Where onnxruntime cannot use that GPU, the detector runs on the CPU.

    Args:
        config: Settings of the run.
        say: Called with one line if the detector runs elsewhere than asked for.

    Raises:
        UsageError: A GPU was asked for and torch sees none; or as `open_pack`.
    """
    device = device_for(DETECT.gpus(config.resources))
    try:
        return open_pack(config, device)
    except DeviceError as error:
        say(f"the detector runs on the CPU: {one_line(error)}")
        return open_pack(config)


def check_decode_device(config: RunConfig) -> None:
    """Check that the GPU that the settings name can decode here; `auto` and `cpu` need none.

    Raises:
        UsageError: It cannot.
    """
    device = config.resources.decode_device
    problem = device_problem(device, config.isolation) if device.startswith(GPU) else ""
    if problem:
        raise UsageError(
            f"resources.decode_device is {device}, but no GPU can decode here ({problem}): set it "
            "to auto or cpu, and see vcn doctor"
        )


def check_decode_reserved(resources: ResourceConfig) -> None:
    """Check that workers of Ray may use the GPU on which they are to decode.

    Raises:
        UsageError: They reserve none, and Ray hides all others.
    """
    if resources.decode_device.startswith(GPU) and not resources.detect_gpus:
        raise UsageError(
            f"resources.decode_device is {resources.decode_device}, but resources.detect_gpus is "
            "0: set it to the fraction of a GPU that each worker reserves"
        )
