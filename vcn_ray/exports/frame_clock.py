"""Which frame rate a video has, and which number a picture has at that rate; it reads no file.

The times of all pictures decide, and never what a container claims.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from vcn_ray.exports.timecode import RATES, Timecode
from vcn_ray.records import F64, I64

MAX_SPREAD = 0.002
"""Seconds by which pictures may lie apart from an even grid, and still have a constant rate.

Time stamps are rounded: to 1/1000 s in Matroska and FLV, to 1/600 s in old QuickTime files, which
moves each by up to half a step to either side. The shortest frame, 1/60 s, is eight times as long.
"""


@dataclass(frozen=True, slots=True, eq=False)
class FrameTimes:
    """The pictures of a video that were read."""

    seconds: F64  # (t,) when each is shown
    width: I64  # (t,) pixels as players show it
    height: I64  # (t,)
    gaps: I64  # (g,) pictures before which some are missing; 0: at the start
    end_seconds: float  # until which the last one stands
    estimated: bool = False  # between some that are known


@dataclass(frozen=True, slots=True, eq=False)
class FrameClock:
    """The numbers of a video's pictures.

    Attributes:
        timecode: Of frames of the timeline; None: they have none.
        own: Whether the timeline has a frame for each picture: the rate is the video's.
        times: The pictures.
        frame: (t,) Frame of the timeline with which each picture begins.
        notes: Sentences for people on what the numbers rest on.
    """

    timecode: Timecode | None
    own: bool
    times: FrameTimes
    frame: I64
    notes: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """Frames of the timeline."""
        return self.span(0, len(self.frame), self.times.end_seconds)[1]

    def span(self, start: int, end: int, end_seconds: float) -> tuple[int, int]:
        """First frame of the timeline, and one past the last, of a range of pictures.

        Args:
            start: First picture.
            end: One past the last picture.
            end_seconds: Until which the last picture stands.
        """
        first = int(self.frame[start])
        if self.own or self.timecode is None:
            return first, int(self.frame[end - 1]) + 1
        origin = _origin(self.times)
        last = round((end_seconds - origin) * float(self.timecode.rate))
        return first, max(last, first + 1)


def find_rate(times: FrameTimes, stated: float) -> Fraction | None:
    """The rate at which a video shows all of its pictures; None: there is none of RATES.

    Args:
        times: At least one picture.
        stated: Frames per second by the container; it decides only between rates that all fit a
            video of a few pictures.
    """
    fits = [rate for rate in RATES if _fits(times, rate)]
    return min(fits, key=lambda rate: abs(float(rate) - stated), default=None)


def timeline_frames(times: FrameTimes, rate: Fraction) -> I64:
    """(t,) The frame of an even timeline that is nearest to each picture; 0 is the first."""
    frames: I64 = np.rint((times.seconds - _origin(times)) * float(rate)).astype(np.int64)
    return frames


def _fits(times: FrameTimes, rate: Fraction) -> bool:
    frames = timeline_frames(times, rate)
    rest = times.seconds - frames / float(rate)
    if np.ptp(rest) > MAX_SPREAD:
        return False
    steps = np.diff(frames)
    whole = np.ones(len(steps), np.bool_)
    whole[times.gaps[times.gaps > 0] - 1] = False
    return bool((steps[whole] == 1).all() and (steps >= 1).all())


def _origin(times: FrameTimes) -> float:
    """Second of the timeline's first frame: of the first picture, unless that was not read."""
    return 0.0 if 0 in times.gaps else float(times.seconds[0])
