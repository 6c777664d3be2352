"""What a process that computes does with its memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

PAGES_OF_ONE_ARRAY = 64 * 256  # 64 MiB in pages of 4 KiB

SCRIPT = """
import resource
import numpy as np
from vcn_ray.run.process import keep_freed_memory
keep = {keep}
assert not keep or keep_freed_memory()
np.ones(64 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    np.ones(64 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_large_arrays_reuse_the_memory_of_those_before() -> None:
    def faults(keep: bool) -> int:
        words = [sys.executable, "-c", SCRIPT.format(keep=keep)]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    without = faults(keep=False)
    if without < PAGES_OF_ONE_ARRAY:
        pytest.skip("this system has huge pages, or another C library")
    assert faults(keep=True) < without / 10
