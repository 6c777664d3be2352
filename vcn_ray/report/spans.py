"""Where things stand on the film's time axis; it knows nothing of faces, people or HTML.

The videos of a title stand one after another on one axis. Places are per cent of its length.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from vcn_ray.report.words import clock, clock_range, count

Spans = list[tuple[float, float]]

MOST_BARS = 8000
"""A timeline with more bars than this joins near ones."""

_TICK_SECONDS = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 36000)


@dataclass(frozen=True, slots=True)
class VideoView:
    """One video of the title and its place on the axis."""

    video_id: str
    name: str  # the file's name
    short: str  # what tells it from the title's other videos
    uri: str
    offset_seconds: float  # where it starts on the axis
    seconds: float
    width: int  # pixels
    height: int
    frame_rate: float
    shots: int
    left: float  # per cent of the axis
    span: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on the axis."""

    left: float
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
    """An appearance, or several that stand too close to draw apart."""

    left: float  # per cent of the axis
    width: float
    text: str
    track_id: str  # the longest appearance's


class Film:
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
        self._scale = 100 / self.seconds if self.seconds > 0 else 0.0
        self.tenths = self.seconds < 600
        self.videos = _place_videos(videos, lengths, counts, self._scale)
        self.order = {view.video_id: row for row, view in enumerate(self.videos)}
        self.cuts = [
            self.place(row["video_id"], row["start_seconds"])
            for row in shots
            if row["video_id"] in self.order and row["start_seconds"] > 0
        ]

    def place(self, video_id: str, seconds: float) -> float:
        """Return the place of a time of a video in per cent of the axis."""
        view = self.videos[self.order[video_id]]
        return self._scale * (view.offset_seconds + min(max(seconds, 0.0), view.seconds))

    def where(self, video_id: str, start: float, end: float) -> str:
        """Write a range of time, with the video's name where there are several."""
        text = clock_range(start, end, self.tenths)
        if len(self.videos) < 2:
            return text
        return f"{self.videos[self.order[video_id]].short}, {text}"

    def moment(self, video_id: str, seconds: float) -> str:
        """Write a time, with the video's name where there are several."""
        text = clock(seconds, self.tenths)
        if len(self.videos) < 2:
            return text
        return f"{self.videos[self.order[video_id]].short}, {text}"

    def ticks(self, wanted: int = 10) -> list[Tick]:
        """Return about `wanted` labelled round times; each video starts again at 0:00."""
        step = next((s for s in _TICK_SECONDS if self.seconds / s <= wanted), _TICK_SECONDS[-1])
        found = []
        for view in self.videos:
            times = [i * step for i in range(int(view.seconds / step) + 1)]
            # A label at the very end would run out of the picture or into the next video's.
            for seconds in times:
                if seconds == 0 or view.seconds - seconds > 0.4 * step:
                    text = clock(seconds, tenths=step < 1)
                    found.append(Tick(self.place(view.video_id, seconds), text))
        return found

    def cuts_path(self) -> str:
        """Return the shot boundaries as an SVG path in a box 1000 wide and 1 high."""
        return "".join(f"M{10 * place:.2f} 0v1" for place in self.cuts)

    def bars(self, rows: Iterable[Appearance], gap_seconds: float = 0.0) -> list[Bar]:
        """Return bars for appearances; those nearer than `gap_seconds` share one."""
        groups: list[list[Appearance]] = []
        reached = 0.0
        for row in sorted(rows, key=lambda row: (self.order[row.video_id], row.start)):
            same = bool(groups) and groups[-1][0].video_id == row.video_id
            if same and gap_seconds > 0 and row.start - reached < gap_seconds:
                groups[-1].append(row)
                reached = max(reached, row.end)
            else:
                groups.append([row])
                reached = row.end
        return [self._bar(group) for group in groups]

    def _bar(self, group: list[Appearance]) -> Bar:
        start, end = group[0].start, max(row.end for row in group)
        left, right = (self.place(group[0].video_id, time) for time in (start, end))
        text = self.where(group[0].video_id, start, end)
        if len(group) > 1:
            text += f" ({count(len(group), 'appearance')})"
        longest = max(group, key=lambda row: row.end - row.start)
        return Bar(round(left, 4), round(right - left, 4), text, longest.track_id)


def _place_videos(
    videos: Sequence[Mapping[str, Any]],
    lengths: Sequence[float],
    shots: Mapping[str, int],
    scale: float,
) -> list[VideoView]:
    views, offset = [], 0.0
    uris = [str(video.get("uri", "")) for video in videos]
    names = [
        PurePosixPath(uri.rstrip("/")).name or str(video["video_id"])
        for uri, video in zip(uris, videos, strict=True)
    ]
    short = short_names(names)
    for row, (video, seconds) in enumerate(zip(videos, lengths, strict=True)):
        views.append(
            VideoView(
                video_id=video["video_id"],
                name=names[row],
                short=short[row],
                uri=uris[row],
                offset_seconds=offset,
                seconds=seconds,
                width=int(video.get("width") or 0),
                height=int(video.get("height") or 0),
                frame_rate=float(video.get("frame_rate") or 0.0),
                shots=shots.get(video["video_id"], 0),
                left=round(scale * offset, 4),
                span=round(scale * seconds, 4),
            )
        )
        offset += seconds
    return views


def short_names(names: Sequence[str]) -> list[str]:
    """Shorten file names: no ending, and without the words with which all of them begin."""
    stems = [PurePosixPath(name).stem or name for name in names]
    words = [re.split(r"(?<=[ _.-])", stem) for stem in stems]
    same = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*words, strict=False))
    cut = len(list(same)) if len(stems) > 1 else 0
    return ["".join(part[cut:]) or stem for part, stem in zip(words, stems, strict=True)]


def union_seconds(rows: Iterable[Appearance]) -> float:
    """Return how many seconds are covered by at least one appearance, over all videos."""
    by_video: dict[str, Spans] = {}
    for row in rows:
        by_video.setdefault(row.video_id, []).append((row.start, row.end))
    total = 0.0
    for spans in by_video.values():
        reached = float("-inf")
        for start, end in sorted(spans):
            total += max(0.0, end - max(start, reached))
            reached = max(reached, end)
    return total


def least_gap(film: Film, rows: Sequence[Sequence[Appearance]], most: int = MOST_BARS) -> float:
    """Return the gap in seconds under which bars are joined, so that a page stays light.

    Args:
        film: The axis.
        rows: The appearances of each row of the timeline.
        most: Bars that a page may have.

    Returns:
        0 where every appearance can have its own bar, else the least of 1, 2, 4, ...
        ten-thousandths of the axis that leaves few enough.
    """
    gap = 0.0
    while gap < film.seconds and sum(len(film.bars(row, gap)) for row in rows) > most:
        gap = max(2 * gap, film.seconds / 10_000)
    return gap
