"""The machine that a benchmark runs on: what it has, and the memory that this process takes."""

from __future__ import annotations

import os
import resource
from pathlib import Path


def describe_machine() -> str:
    """CPU model, cores, memory, and GPU or none, in one line."""
    # imported late: some benchmarks measure a process that has no torch in memory
    import torch

    cores = len(os.sched_getaffinity(0))
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{cpu_model()}, {cores} cores, {gib:.0f} GiB, {gpu}"


def cpu_model() -> str:
    """The model of the first CPU, as Linux names it."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return "unknown CPU"


def peak_resident(pid: int | None = None) -> float:
    """Peak resident memory of a process in MiB; memory before its start does not count.

    Args:
        pid: Its number; None: this process.
    """
    lines = Path(f"/proc/{pid or 'self'}/status").read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def resident() -> float:
    """Resident memory of this process now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / (1 << 20)
