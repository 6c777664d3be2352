"""How a process that computes uses the machine: threads of torch, and memory that it keeps."""

from __future__ import annotations

import ctypes
import sys

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # numbers of malloc.h
KEPT_BYTES = 256 << 20
"""Freed memory at the end of the heap that the process keeps. The activations of one batch of an
encoder take less."""

MAPPED_BYTES = 128 << 20
"""From this size on, an array has pages of its own and returns them when it is freed."""


def prepare_process(threads: int) -> None:
    """Prepare this process for networks on a CPU; calling it again changes nothing.

    Args:
        threads: Threads of one operator of torch.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Have glibc reuse the memory of large arrays instead of returning it to the system at once.

    An encoder allocates and frees the same activations for every batch. The system clears each page
    before it lends it again, which took 40 % of the encoder's time.

    Returns:
        Whether it did: other C libraries than glibc have no such setting.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    kept = mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    return bool(kept and mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES))
