"""Timecode of frames, and back, against OpenTimelineIO and against counting frame by frame."""

from __future__ import annotations

import random
from fractions import Fraction

import opentimelineio as otio
import pytest

from tests.helpers.exports import NTSC, NTSC_60, RATES
from vcn_ray.errors import UsageError
from vcn_ray.exports.timecode import Timecode, is_drop, parse_rate


def counted(rate: Fraction, drop: bool, frames: int) -> list[str]:
    """Timecodes of the first frames, one after the other, as SMPTE ST 12 describes them."""
    nominal, left_out = round(rate), 4 if rate == NTSC_60 else 2
    made: list[str] = []
    number = 0
    while len(made) < frames:
        seconds, frame = divmod(number, nominal)
        minutes, second = divmod(seconds, 60)
        number += 1
        if drop and second == 0 and minutes % 10 and frame < left_out:
            continue
        mark = ";" if drop else ":"
        made.append(f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}{mark}{frame:02d}")
    return made


@pytest.mark.parametrize(("rate", "drop"), RATES)
def test_frames_around_every_minute_of_twenty(rate: Fraction, drop: bool) -> None:
    wanted, timecode = counted(rate, drop, int(21 * 60 * rate)), Timecode(rate, drop)
    for minute in range(21):
        middle = int(60 * minute * rate)
        for frame in range(max(0, middle - 80), middle + 80):  # drop frame lags by up to 76
            assert timecode.at(frame) == wanted[frame]
            assert timecode.count(wanted[frame]) == frame


@pytest.mark.parametrize(("rate", "drop"), RATES)
def test_frames_of_a_day_equal_those_of_opentimelineio(rate: Fraction, drop: bool) -> None:
    timecode, rng = Timecode(rate, drop), random.Random(1)
    day = int(23.9 * 3600 * rate)  # OpenTimelineIO begins anew a little before the day is over
    for frame in [0, *(rng.randrange(day) for _ in range(300))]:
        text = timecode.at(frame)
        time = otio.opentime.RationalTime(frame, float(rate))
        assert otio.opentime.to_timecode(time, float(rate), drop) == text
        assert timecode.count(text) == frame


def test_a_day_ends_at_midnight() -> None:
    assert Timecode(NTSC, drop=True).day == 2_589_408
    assert Timecode(NTSC, drop=True).at(2_589_407) == "23:59:59;29"
    with pytest.raises(UsageError, match=r"beyond 24 hours of timecode.* --start"):
        Timecode(Fraction(25), start=Timecode(Fraction(25)).count("23:59:59:24")).at(1)


def test_the_start_is_added_in_frames() -> None:
    hour = Timecode(NTSC, drop=True).count("01:00:00;00")
    assert hour == 107_892
    assert Timecode(NTSC, drop=True, start=hour).at(1800) == "01:01:00;02"
    assert Timecode(NTSC, start=Timecode(NTSC).count("01:00:00:00")).at(1800) == "01:01:00:00"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1:00:00:00", "write it as 01:00:00:00"),
        ("01:00:00", "write it as"),
        ("24:00:00:00", "hours end at 23"),
        ("01:60:00:00", "minutes and seconds at 59"),
        ("01:00:00:30", "frames at 29"),
        ("01:01:00;01", "does not exist in drop frame: write 01:01:00;02"),
    ],
)
def test_timecodes_that_do_not_exist_are_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Timecode(NTSC, drop=True).count(text)


def test_drop_frame_exists_at_two_rates() -> None:
    with pytest.raises(UsageError, match=r"no drop frame at 25 .* 30000/1001 and 60000/1001"):
        Timecode(Fraction(25), drop=True)
    assert is_drop("01:00:00;00")
    assert not is_drop("01:00:00:00")


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("25", Fraction(25)),
        ("24", Fraction(24)),
        ("23.976", Fraction(24000, 1001)),
        ("23.98", Fraction(24000, 1001)),
        ("29.97", NTSC),
        ("29.97002997002997", NTSC),
        ("30000/1001", NTSC),
        ("30", Fraction(30)),
        ("59.94", NTSC_60),
        ("60", Fraction(60)),
    ],
)
def test_rates_are_exact_however_they_are_written(text: str, rate: Fraction) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["15", "29.9", "fast", "1/0", "", "-25", "nan", "100"])
def test_other_rates_have_no_timecode(text: str) -> None:
    with pytest.raises(UsageError, match="write one of 24000/1001, 24, 25"):
        parse_rate(text)
