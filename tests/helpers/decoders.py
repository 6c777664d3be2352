"""Helpers of the tests of decoder processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vcn_ray.errors import MediaError
from vcn_ray.io import isolation
from vcn_ray.io.frames import DecodedFrame
from vcn_ray.io.isolation import IsolationConfig
from vcn_ray.io.video import DecodeConfig, Source

SECOND = DecodeConfig(segment_seconds=1.0)
LIMITS = IsolationConfig()


def decoders(parent: int | None = None) -> list[int]:
    """Living decoders of a process, this one by default."""
    found = []
    pid = parent or os.getpid()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            mine = int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == pid
            mine = mine and b"decoder_child" in (folder / "cmdline").read_bytes()
        except OSError:
            continue
        found += [int(folder.name)] if mine else []
    return found


def read_all(path: Source, limits: IsolationConfig = LIMITS) -> list[DecodedFrame]:
    """Frames of a film, segment by segment."""
    segments = isolation.plan_segments(path, SECOND, limits)
    return [f for s in segments for f in isolation.read_segment(path, s, SECOND, limits)]


def error_of(call: Callable[[], object]) -> MediaError:
    """The error that a call must raise."""
    with pytest.raises(MediaError) as caught:
        call()
    return caught.value
