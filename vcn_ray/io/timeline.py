"""The clock of a video: second 0 is where players start the file; it reads no pictures."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import cast

from av.container import InputContainer
from av.format import Flags
from av.stream import Stream
from av.video.stream import VideoStream

MICROSECOND = Fraction(1, 1_000_000)
PRIMING_SECONDS = Fraction(1, 10)  # sound that an encoder puts before 0, and players do not play
MAX_LEAD_SECONDS = 86_400  # a longer wait for the first picture is a clock's time of day or year
MAX_BACK_SECONDS = 1.0  # stamps that go back farther restart
MAX_GAP_SECONDS = 6 * 3600.0  # no picture stands for longer
MAX_GAP_DISCONTINUOUS = 60.0  # in formats whose stamps may jump, as where recordings are joined
UNKNOWN_RATE = 25.0  # frames per second


def start_of_file(
    container: InputContainer, stream: VideoStream, unedited_start: Callable[[], Fraction]
) -> Fraction:
    """The time stamp, in seconds, that players show as second 0.

    That is the start of the earliest stream. The timeline of an MP4 begins at 0, though: an edit
    list that starts with an empty edit delays the picture.

    Args:
        container: The file.
        stream: Its picture.
        unedited_start: Returns the earliest time stamp of the file without its edit lists.
    """
    start = earliest_start(container)
    picture = _start(stream) or start
    if not may_jump(container) and -PRIMING_SECONDS < start < 0 <= picture:
        return Fraction(0)
    is_delayed = "mp4" in container.format.name and 0 < start <= MAX_LEAD_SECONDS
    return Fraction(0) if is_delayed and unedited_start() < start else start


def may_jump(container: InputContainer) -> bool:
    """True for formats whose time stamps may jump, as those of broadcasts do."""
    return bool(container.format.flags & cast(int, Flags.ts_discont.value))


def frame_period(stream: VideoStream) -> float:
    """Seconds from one frame to the next, on average."""
    return 1.0 / float(stream.average_rate or stream.guessed_rate or UNKNOWN_RATE)


def _start(stream: Stream) -> Fraction | None:
    if stream.start_time is None or stream.time_base is None:
        return None
    return Fraction(stream.start_time) * stream.time_base


def earliest_start(container: InputContainer) -> Fraction:
    """Start of the earliest stream in seconds, exact where FFmpeg has rounded it."""
    starts = [start for start in map(_start, container.streams) if start is not None]
    if container.start_time is None:
        return min(starts, default=Fraction(0))
    rounded = container.start_time * MICROSECOND
    exact = min(starts, key=lambda start: abs(start - rounded), default=rounded)
    return exact if abs(exact - rounded) <= MICROSECOND else rounded


class Timeline:
    """Turns the times of frames, or of packets, into one time that runs on.

    Where stamps restart or jump absurdly far, as where two recordings are joined, time counts
    on from the last frame, as players show it.

    Args:
        period: Seconds from one frame to the next.
        max_gap: Seconds; a larger step is a jump.
        offset: Seconds by which times before the first were changed.

    Attributes:
        last: The last time; None before the first.
        offset: Seconds by which times are changed now.
        jumps: How often stamps jumped.
        jumped_back: Whether stamps ever restarted, so that they identify no frame.
    """

    def __init__(self, period: float, max_gap: float, offset: float = 0.0) -> None:
        self.last: float | None = None
        self.jumps = 0
        self.jumped_back = False
        self._period = period
        self._max_gap = max_gap
        self.offset = offset

    def read(self, seconds: float | None) -> float:
        """The next time; None: it follows the last one."""
        time = self.place(seconds)
        if self.last is None and time > MAX_LEAD_SECONDS:
            self.offset -= time  # the container did not say that it begins so late
            time = 0.0
        if self.last is not None and self.is_jump(seconds):
            self.jumps += 1
            self.jumped_back |= time < self.last
            self.offset += self.last + self._period - time
            time = self.last + self._period
        self.last = time if self.last is None else max(time, self.last)
        return self.last

    def is_jump(self, seconds: float | None) -> bool:
        """True if a next time of so many seconds were a jump."""
        if self.last is None or seconds is None:
            return False
        return not -MAX_BACK_SECONDS <= self.place(seconds) - self.last <= self._max_gap

    def place(self, seconds: float | None) -> float:
        """Where a time belongs if it is no jump."""
        if seconds is None:
            return 0.0 if self.last is None else self.last + self._period
        return seconds + self.offset


def max_gap_seconds(container: InputContainer) -> float:
    """Steps of time stamps that are larger than this are jumps."""
    return MAX_GAP_DISCONTINUOUS if may_jump(container) else MAX_GAP_SECONDS
