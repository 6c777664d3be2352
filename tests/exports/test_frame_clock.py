"""The rate of a video, from the times of its pictures alone."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tests.helpers.exports import FILM, NTSC, even_times
from vcn_ray.exports.frame_clock import FrameClock, FrameTimes, find_rate, timeline_frames
from vcn_ray.exports.timecode import RATES, Timecode
from vcn_ray.records import F64


def rounded(times: FrameTimes, tick: Fraction) -> FrameTimes:
    """The same as a container of such a time base stores it."""
    seconds: F64 = np.rint(times.seconds / float(tick)) * float(tick)
    return replace(times, seconds=seconds)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("tick", [Fraction(1, 1000), Fraction(1, 600), Fraction(1, 90_000)])
@pytest.mark.parametrize("frames", [300, 20_000])
def test_time_stamps_are_rounded_and_the_rate_is_exact(
    rate: Fraction, tick: Fraction, frames: int
) -> None:
    times = rounded(even_times(frames, rate, offset=0.0417), tick)
    assert find_rate(times, stated=float(rate)) == rate
    assert timeline_frames(times, rate).tolist() == list(range(frames))


@pytest.mark.parametrize("rate", RATES)
def test_the_container_does_not_decide(rate: Fraction) -> None:
    assert find_rate(even_times(5000, rate), stated=12.0) == rate


def test_of_few_pictures_the_nearest_rate_to_the_stated_one() -> None:
    times = rounded(even_times(3, Fraction(24)), Fraction(1, 1000))
    assert find_rate(times, stated=23.98) == FILM
    assert find_rate(times, stated=24.0) == 24


def varying(kind: str) -> F64:
    seconds = even_times(1000, Fraction(30)).seconds.copy()
    if kind == "one frame is missing":
        return np.delete(seconds, 500)
    if kind == "one frame comes late":
        seconds[500] += 0.005
    if kind == "one frame is twice":
        seconds[500:] = seconds[499:-1]
    if kind == "a phone's":
        seconds += np.random.default_rng(0).normal(0, 0.004, len(seconds)).cumsum() / 10
    if kind == "no rate of timecode":
        seconds *= 2
    return seconds


@pytest.mark.parametrize(
    "kind",
    [
        "one frame is missing",
        "one frame comes late",
        "one frame is twice",
        "a phone's",
        "no rate of timecode",
    ],
)
def test_variable_rates_are_found_by_every_frame(kind: str) -> None:
    seconds = varying(kind)
    times = even_times(len(seconds), Fraction(30))
    assert find_rate(times, stated=30.0) == 30
    assert find_rate(replace(times, seconds=seconds), stated=30.0) is None


def test_frames_behind_a_lost_segment_keep_their_numbers() -> None:
    whole = even_times(300, NTSC)
    left = np.r_[0:100, 160:300]
    times = replace(
        whole,
        seconds=whole.seconds[left],
        width=whole.width[left],
        height=whole.height[left],
        gaps=np.array([100]),
    )
    assert find_rate(times, stated=30.0) == NTSC
    clock = FrameClock(Timecode(NTSC), True, times, timeline_frames(times, NTSC))
    assert clock.span(100, 110, 0.0) == (160, 170)
    assert clock.length == 300
    assert find_rate(replace(times, gaps=np.zeros(0, np.int64)), stated=30.0) is None


def test_frames_behind_a_lost_first_segment_count_from_the_start_of_the_file() -> None:
    whole = even_times(300, Fraction(25))
    times = replace(whole, seconds=whole.seconds[100:], gaps=np.array([0]))
    assert timeline_frames(times, Fraction(25)).tolist() == list(range(100, 300))


def test_on_a_foreign_rate_frames_come_from_seconds() -> None:
    times = even_times(250, Fraction(25), offset=0.5)
    clock = FrameClock(Timecode(Fraction(50)), False, times, timeline_frames(times, Fraction(50)))
    assert clock.span(10, 20, times.seconds[20]) == (20, 40)
    slow = FrameClock(Timecode(Fraction(24)), False, times, timeline_frames(times, Fraction(24)))
    assert slow.span(12, 13, times.seconds[13]) == (12, 13)  # 11.52 to 12.48: never empty
    assert clock.length == 500
