"""SIGTERM in the middle of a run: a last line, exit status 143, and nothing that half counts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.videos import encode, shot

GIB = 1 << 30


@pytest.mark.slow
@pytest.mark.parametrize("planning", [False, True])
def test_a_run_without_ray_stops_in_order(tmp_path: Path, planning: bool) -> None:
    often = {"preset": "ultrafast", "x264-params": "keyint=25:scenecut=0"}  # keyframes to cut at
    video = encode(tmp_path / "film.mp4", shot(1, 150, speed=2.0), options=often)
    output = tmp_path / "out"
    videos = [video]
    if planning:  # a film whose identity takes minutes to read: of a hole that takes no room
        videos.append(tmp_path / "large.mp4")
        videos[1].write_bytes(video.read_bytes())
        os.truncate(videos[1], 200 * GIB)
    words = ["index", *videos, "--output", output, "--local", "--set", "detect.segment_seconds=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vcn_ray", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(output.rglob("seg-*.parquet")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 143
    assert err.splitlines()[-1].startswith("stopped: ")
    assert "Traceback" not in err
    assert out == ""
    assert not list(output.rglob("manifest.json"))
