"""Ports, and processes found by their mark."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys

from benchmarks.system.processes import end_marked, free_ray_ports, marked_processes, stop


def test_ports_are_distinct():
    ports = free_ray_ports()
    assert len(set(ports.values())) == len(ports)


def test_only_marked_processes_are_found_and_ended():
    words = [sys.executable, "-c", "input()"]
    mark = secrets.token_hex(8)
    ours = subprocess.Popen(words, env=os.environ | {"MARK": mark}, stdin=subprocess.PIPE)
    other = subprocess.Popen(words, stdin=subprocess.PIPE)
    try:
        assert list(marked_processes("MARK", mark)) == [ours.pid]
        end_marked("MARK", mark, seconds=0.1)
        assert ours.wait(timeout=10) < 0
        assert other.poll() is None
    finally:
        for process in (ours, other):
            stop(process)
            process.stdin.close()
