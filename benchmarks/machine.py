"""The machine that a benchmark runs on: what it has, and what this process takes of it."""

from __future__ import annotations

import os
import resource
import time
from contextlib import suppress
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
    lines = Path(f"/proc/{pid or 'self'}/status").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    """Set the peak of this process's memory to what it holds now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # see proc(5)


def peak_of_children() -> float:
    """The peaks of resident memory of all running children, added, in MiB."""
    total = 0.0
    for child in _children():
        with suppress(OSError, ValueError):  # it has ended
            total += peak_resident(int(child.name))
    return total


def cpu_seconds() -> float:
    """CPU seconds of this process, its running children and all that have ended.

    Those of children are counted in hundredths.
    """
    ended = os.times()
    seconds = time.process_time() + ended.children_user + ended.children_system
    for child in _children():
        with suppress(OSError):
            fields = (child / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            seconds += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return seconds


def _children() -> list[Path]:
    """The folders below /proc of the running children of this process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = stat.read_text(encoding="utf-8").rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                found.append(stat.parent)
    return found


def resident() -> float:
    """Resident memory of this process now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / (1 << 20)
