"""SMPTE timecode of frame numbers, and back, exact for every rate; it knows no video.

A timecode counts frames in steps of the nominal rate: 30 for 30000/1001. Drop frame leaves numbers
out, never frames: two of them (four at 60000/1001) at the start of each minute but every tenth, so
that the timecode stays close to the clock on the wall.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from vcn_ray.errors import UsageError

RATES = (
    Fraction(24000, 1001),
    Fraction(24),
    Fraction(25),
    Fraction(30000, 1001),
    Fraction(30),
    Fraction(48000, 1001),
    Fraction(48),
    Fraction(50),
    Fraction(60000, 1001),
    Fraction(60),
)
"""Frames per second for which there is timecode."""

DROPPED = {Fraction(30000, 1001): 2, Fraction(60000, 1001): 4}
"""Numbers that drop frame leaves out of a minute, at the rates that have it."""

RATE_NAME_TOLERANCE = 0.006  # 23.98 names 24000/1001, and 24 does not
HOURS = 24
TIMECODE = re.compile(r"(\d{2}):(\d{2}):(\d{2})([:;.,])(\d{2})")
DROP_MARKS = ";.,"  # before the frames; editors and FFmpeg write a semicolon


def parse_rate(text: str) -> Fraction:
    """The exact rate that a text names: `25`, `29.97`, `30000/1001`.

    Raises:
        UsageError: It names none that has timecode.
    """
    try:
        value = Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    near = min(RATES, key=lambda rate: abs(rate - value))
    if abs(near - value) > RATE_NAME_TOLERANCE:
        raise UsageError(f"rate {text}: write one of {', '.join(map(rate_name, RATES))}")
    return near


def rate_name(rate: Fraction) -> str:
    """A rate as `parse_rate` reads it: 25, 30000/1001."""
    return str(rate)


@dataclass(frozen=True, slots=True)
class Timecode:
    """The timecode of a video's frames.

    Attributes:
        rate: Frames per second, one of RATES.
        drop: Drop frame.
        start: Frames from 00:00:00:00 to the video's first one.
    """

    rate: Fraction
    drop: bool = False
    start: int = 0

    def __post_init__(self) -> None:
        if self.drop and self.rate not in DROPPED:
            raise UsageError(
                f"there is no drop frame at {rate_name(self.rate)} frames a second, only at "
                f"{' and '.join(map(rate_name, DROPPED))}: leave out --drop-frame, or write : and "
                "not ; in --start"
            )

    @property
    def nominal(self) -> int:
        """Numbers per second."""
        return round(self.rate)

    @property
    def day(self) -> int:
        """Frames of 24 hours of timecode."""
        return HOURS * 6 * self._frames_of_ten

    def reaches(self, frame: int) -> bool:
        """True if a frame of the video lies within 24 hours."""
        return 0 <= self.start + frame < self.day

    def at(self, frame: int) -> str:
        """The timecode of a frame of the video, from 0; `;` before the frames marks drop frame.

        Raises:
            UsageError: It lies beyond 24 hours.
        """
        count = self.start + frame
        if not self.reaches(frame):
            raise UsageError(
                f"frame {frame} lies beyond 24 hours of timecode, which no editor takes: name an "
                "earlier start by --start"
            )
        if self.drop:
            tens, rest = divmod(count, self._frames_of_ten)
            # The first minute of ten is complete, and each other one begins with a gap.
            gaps = max(0, rest - self._dropped) // (60 * self.nominal - self._dropped)
            count += self._dropped * (9 * tens + gaps)
        seconds, frames = divmod(count, self.nominal)
        mark = ";" if self.drop else ":"
        hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
        return f"{hours:02d}:{minutes:02d}:{seconds:02d}{mark}{frames:02d}"

    def count(self, text: str) -> int:
        """Frames from 00:00:00:00 to a timecode, however it marks drop frame.

        Raises:
            UsageError: It is none, or no frame has it.
        """
        found = TIMECODE.fullmatch(text.strip())
        if found is None:
            raise UsageError(f"timecode {text}: write it as 01:00:00:00")
        hours, minutes, seconds, frames = (int(found[n]) for n in (1, 2, 3, 5))
        if hours >= HOURS or minutes >= 60 or seconds >= 60 or frames >= self.nominal:
            raise UsageError(
                f"timecode {text} does not exist at {rate_name(self.rate)} frames a second: hours "
                f"end at 23, minutes and seconds at 59, frames at {self.nominal - 1}"
            )
        if self.drop and minutes % 10 and not seconds and frames < self._dropped:
            raise UsageError(
                f"timecode {text} does not exist in drop frame: write "
                f"{hours:02d}:{minutes:02d}:00;{self._dropped:02d}"
            )
        total = 60 * hours + minutes
        count = (60 * total + seconds) * self.nominal + frames
        return count - self._dropped * (total - total // 10)

    @property
    def _dropped(self) -> int:
        return DROPPED[self.rate] if self.drop else 0

    @property
    def _frames_of_ten(self) -> int:
        """Frames of ten minutes."""
        return 600 * self.nominal - 9 * self._dropped


def is_drop(text: str) -> bool:
    """True for a timecode that is written as drop frame."""
    found = TIMECODE.fullmatch(text.strip())
    return found is not None and found[4] in DROP_MARKS
