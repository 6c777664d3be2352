"""Positions on the time axis of a page; it knows nothing of faces, people or HTML.

The videos of a title follow one another on one axis. Positions are per cent of its length.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from vcn_ray.report.words import clock, clock_range, count

MAX_BARS = 8000
"""If the timelines of a page have more bars, neighbouring bars are joined."""

_TICK_SECONDS = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 36000)


@dataclass(frozen=True, slots=True)
class VideoView:
    """One video of the title and its position on the axis."""

    video_id: str
    name: str  # file name
    short: str  # the part of the name that differs from the title's other videos
    offset_seconds: float  # start on the axis
    seconds: float
    width: int  # pixels
    height: int
    left: float  # per cent of the axis
    span: float  # per cent of the axis


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled position on the axis."""

    left: float  # per cent of the axis
    text: str


@dataclass(frozen=True, slots=True)
class Appearance:
    """A stretch of time with one face, in seconds of its video."""

    video_id: str
    start: float
    end: float
    track_id: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One appearance, or several that are too close together to draw separately."""

    left: float  # per cent of the axis
    width: float
    text: str
    track_id: str  # of the longest appearance


class TimeAxis:
    """The time axis of a title.

    Args:
        videos: The entries of `result.json`, in order.
        shots: Rows of the shots table of all those videos.
    """

    def __init__(
        self, videos: Sequence[Mapping[str, Any]], shots: Sequence[Mapping[str, Any]]
    ) -> None:
        ends: dict[str, float] = {}
        self.shot_number: dict[tuple[str, str], int] = {}  # 1, 2, ... in each video
        counts: dict[str, int] = {}
        for row in sorted(shots, key=lambda row: row["start_seconds"]):
            video_id = row["video_id"]
            counts[video_id] = counts.get(video_id, 0) + 1
            self.shot_number[video_id, row["shot_id"]] = counts[video_id]
            ends[video_id] = max(ends.get(video_id, 0.0), row["end_seconds"])
        lengths = [
            float(video.get("duration_seconds") or ends.get(video["video_id"], 0.0))
            for video in videos
        ]
        self.seconds = sum(lengths)
        self._percent_per_second = 100 / self.seconds if self.seconds > 0 else 0.0
        self.tenths = self.seconds < 600
        self.videos = _place_videos(videos, lengths, self._percent_per_second)
        self.order = {view.video_id: row for row, view in enumerate(self.videos)}
        self.cuts = [
            self.position(row["video_id"], row["start_seconds"])
            for row in shots
            if row["video_id"] in self.order and row["start_seconds"] > 0
        ]

    def position(self, video_id: str, seconds: float) -> float:
        """Return the position of a time of a video in per cent of the axis."""
        view = self.videos[self.order[video_id]]
        clipped = min(max(seconds, 0.0), view.seconds)
        return self._percent_per_second * (view.offset_seconds + clipped)

    def range_text(self, video_id: str, start: float, end: float) -> str:
        """Write a range of time, with the video's name if the title has several videos."""
        return self._with_video(video_id, clock_range(start, end, self.tenths))

    def time_text(self, video_id: str, seconds: float) -> str:
        """Write a time, with the video's name if the title has several videos."""
        return self._with_video(video_id, clock(seconds, self.tenths))

    def ticks(self, count: int = 10) -> list[Tick]:
        """Return about `count` labelled round times; each video starts at 0:00 again."""
        step = next((s for s in _TICK_SECONDS if self.seconds / s <= count), _TICK_SECONDS[-1])
        ticks = []
        for view in self.videos:
            times = [i * step for i in range(int(view.seconds / step) + 1)]
            # A label at the very end would leave the picture or cover the next video's label.
            for seconds in times:
                if seconds == 0 or view.seconds - seconds > 0.4 * step:
                    text = clock(seconds, tenths=step < 1)
                    ticks.append(Tick(self.position(view.video_id, seconds), text))
        return ticks

    def cuts_path(self) -> str:
        """Return the shot boundaries as an SVG path in a box 1000 wide and 1 high."""
        return "".join(f"M{10 * position:.2f} 0v1" for position in self.cuts)

    def bars(self, rows: Iterable[Appearance], gap_seconds: float = 0.0) -> list[Bar]:
        """Return the bars of appearances; those less than `gap_seconds` apart share one."""
        groups: list[list[Appearance]] = []
        end = 0.0  # of the last group
        for row in sorted(rows, key=lambda row: (self.order[row.video_id], row.start)):
            same_video = bool(groups) and groups[-1][0].video_id == row.video_id
            if same_video and gap_seconds > 0 and row.start - end < gap_seconds:
                groups[-1].append(row)
                end = max(end, row.end)
            else:
                groups.append([row])
                end = row.end
        return [self._bar(group) for group in groups]

    def _with_video(self, video_id: str, text: str) -> str:
        if len(self.videos) < 2:
            return text
        return f"{self.videos[self.order[video_id]].short}, {text}"

    def _bar(self, group: list[Appearance]) -> Bar:
        start, end = group[0].start, max(row.end for row in group)
        left, right = (self.position(group[0].video_id, time) for time in (start, end))
        text = self.range_text(group[0].video_id, start, end)
        if len(group) > 1:
            text += f" ({count(len(group), 'appearance')})"
        longest = max(group, key=lambda row: row.end - row.start)
        return Bar(round(left, 4), round(right - left, 4), text, longest.track_id)


def short_names(names: Sequence[str]) -> list[str]:
    """Shorten file names: drop the suffix and the words with which all of them begin."""
    stems = [PurePosixPath(name).stem or name for name in names]
    words = [re.split(r"(?<=[ _.-])", stem) for stem in stems]
    same = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*words, strict=False))
    cut = len(list(same)) if len(stems) > 1 else 0
    return ["".join(part[cut:]) or stem for part, stem in zip(words, stems, strict=True)]


def union_seconds(rows: Iterable[Appearance]) -> float:
    """Return how many seconds are covered by at least one appearance, over all videos."""
    by_video: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        by_video.setdefault(row.video_id, []).append((row.start, row.end))
    total = 0.0
    for spans in by_video.values():
        covered_to = float("-inf")
        for start, end in sorted(spans):
            total += max(0.0, end - max(start, covered_to))
            covered_to = max(covered_to, end)
    return total


def min_gap(
    axis: TimeAxis, rows: Sequence[Sequence[Appearance]], max_bars: int = MAX_BARS
) -> float:
    """Return the shortest gap in seconds between bars that keeps a page small.

    Args:
        axis: The time axis.
        rows: The appearances of each row of the timeline.
        max_bars: Bars that a page may have.

    Returns:
        0 if every appearance can have its own bar; otherwise the smallest of 1, 2, 4, ...
        ten-thousandths of the axis with which no more than `max_bars` remain.
    """
    gap = 0.0
    while gap < axis.seconds and sum(len(axis.bars(row, gap)) for row in rows) > max_bars:
        gap = max(2 * gap, axis.seconds / 10_000)
    return gap


def _place_videos(
    videos: Sequence[Mapping[str, Any]], lengths: Sequence[float], percent_per_second: float
) -> list[VideoView]:
    names = [
        PurePosixPath(str(video["uri"]).rstrip("/")).name or str(video["video_id"])
        for video in videos
    ]
    views, offset = [], 0.0
    short = short_names(names)
    for row, (video, seconds) in enumerate(zip(videos, lengths, strict=True)):
        views.append(
            VideoView(
                video_id=video["video_id"],
                name=names[row],
                short=short[row],
                offset_seconds=offset,
                seconds=seconds,
                width=int(video["width"]),
                height=int(video["height"]),
                left=round(percent_per_second * offset, 4),
                span=round(percent_per_second * seconds, 4),
            )
        )
        offset += seconds
    return views
