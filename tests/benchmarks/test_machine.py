"""The machine and its memory."""

from __future__ import annotations

import numpy as np

from benchmarks.machine import describe_machine, peak_resident, resident


def test_the_peak_of_memory_stays_when_memory_is_given_back():
    before = peak_resident()
    ballast = np.ones(2**25 + int(before - resident()) * 2**17)  # 256 MiB over any peak so far
    peak = peak_resident()
    assert peak >= before + 200
    del ballast
    assert peak_resident() > peak - 1  # the kernel counts roughly
    assert resident() < peak - 200


def test_a_machine_has_cores_memory_and_a_gpu_or_none():
    model, cores, memory, gpu = describe_machine().rsplit(", ", 3)
    assert model
    assert int(cores.removesuffix(" cores")) >= 1
    assert float(memory.removesuffix(" GiB")) > 0
    assert gpu
