"""What a process that computes does with its memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

PAGES = 8 * (64 << 20) // 4096  # of eight blocks

SCRIPT = """
import resource
from vcn_ray.run.process import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for number in range(8):
        bytes([number]) * (64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), keep_freed_memory(), faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_large_blocks_reuse_the_memory_of_those_before() -> None:
    words = [sys.executable, "-c", SCRIPT]
    written = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    before, kept, after = written.split()
    assert kept == "True"
    assert int(before) > 0.9 * PAGES
    assert int(after) < 0.25 * PAGES  # the first block is new
