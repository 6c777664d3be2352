"""The machine and its memory."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks.machine import (
    cpu_seconds,
    describe_machine,
    forget_peak,
    peak_of_children,
    peak_resident,
    resident,
)

WORK = """
import time
while time.process_time() < 0.5:
    pass
ballast = b"." * (200 << 20)
print("done", flush=True)
input()
"""


def test_the_peak_of_memory_stays_when_memory_is_given_back() -> None:
    before = peak_resident()
    ballast = np.ones(2**25 + int(before - resident()) * 2**17)  # 256 MiB over any peak so far
    peak = peak_resident()
    assert peak >= before + 200
    del ballast
    assert peak_resident() > peak - 1  # the kernel counts roughly
    assert resident() < peak - 200


def test_a_peak_begins_anew_once_it_is_forgotten() -> None:
    ballast = np.ones(2**25)  # 256 MiB
    before = peak_resident()
    del ballast
    forget_peak()
    assert peak_resident() < before - 200


def test_children_count_while_they_run_and_when_they_have_ended() -> None:
    seconds, peak = cpu_seconds(), peak_of_children()
    words = [sys.executable, "-c", WORK]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout
        assert child.stdout.readline() == "done\n"
        own = time.process_time()
        running = cpu_seconds() - seconds
        assert peak_of_children() - peak > 200
        child.communicate("\n")
    ended = cpu_seconds() - seconds
    assert running == pytest.approx(0.6, abs=0.25)
    assert ended - running < 0.25 + time.process_time() - own
    assert peak_of_children() == pytest.approx(peak, abs=1)


def test_a_machine_has_cores_memory_and_a_gpu_or_none() -> None:
    model, cores, memory, gpu = describe_machine().rsplit(", ", 3)
    assert model
    assert int(cores.removesuffix(" cores")) >= 1
    assert float(memory.removesuffix(" GiB")) > 0
    assert gpu
