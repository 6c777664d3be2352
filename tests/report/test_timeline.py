"""Positions on the time axis."""

from __future__ import annotations

import numpy as np
import pytest

from vcn_ray.report.timeline import (
    Appearance,
    TimeAxis,
    min_gap,
    short_names,
    union_seconds,
)

SIZE = {"width": 640, "height": 360}
VIDEOS = [
    {"video_id": "a", "uri": "s3://films/a.mp4", "duration_seconds": 30.0, **SIZE},
    {"video_id": "b", "uri": "/films/b.mp4", "duration_seconds": 10.0, **SIZE},
]
SHOTS = [
    {"video_id": "a", "shot_id": "s0", "start_seconds": 0.0, "end_seconds": 12.0},
    {"video_id": "a", "shot_id": "s1", "start_seconds": 12.0, "end_seconds": 30.0},
    {"video_id": "b", "shot_id": "s0", "start_seconds": 0.0, "end_seconds": 10.0},
]


def test_videos_follow_one_another() -> None:
    axis = TimeAxis(VIDEOS, SHOTS)
    assert axis.seconds == 40
    assert axis.position("a", 30) == pytest.approx(75)
    assert axis.position("b", 5) == pytest.approx(87.5)
    assert axis.position("b", 99) == pytest.approx(100)
    assert [view.name for view in axis.videos] == ["a.mp4", "b.mp4"]
    assert axis.cuts == pytest.approx([30.0])
    assert axis.cuts_path() == "M300.00 0v1"
    assert axis.shot_number["a", "s1"] == 2


def test_length_comes_from_shots_if_the_container_has_none() -> None:
    axis = TimeAxis([VIDEOS[0] | {"duration_seconds": 0.0}], SHOTS[:2])
    assert axis.seconds == 30


def test_ticks_are_round_and_start_again_in_each_video() -> None:
    ticks = TimeAxis(VIDEOS, SHOTS).ticks()
    texts = [tick.text for tick in ticks]
    assert texts == ["0:00", "0:05", "0:10", "0:15", "0:20", "0:25", "0:00", "0:05"]


def test_bars_join_only_below_the_gap() -> None:
    axis = TimeAxis(VIDEOS, SHOTS)
    rows = [
        Appearance("a", 1, 2, "t1"),
        Appearance("a", 2.5, 4, "t2"),
        Appearance("a", 1.2, 1.4, "t3"),
        Appearance("b", 0, 1, "t4"),
    ]
    assert len(axis.bars(rows)) == 4
    joined = axis.bars(rows, gap_seconds=0.6)
    assert [bar.track_id for bar in joined] == ["t2", "t4"]
    assert "3 appearances" in joined[0].text
    assert joined[0].left == pytest.approx(2.5)
    assert joined[0].width == pytest.approx(7.5)


def test_the_gap_grows_until_bars_are_few_enough() -> None:
    axis = TimeAxis(VIDEOS, SHOTS)
    rows = [[Appearance("a", i / 10, i / 10 + 0.05, f"t{i}") for i in range(300)]]
    assert min_gap(axis, rows, max_bars=300) == 0
    gap = min_gap(axis, rows, max_bars=10)
    assert len(axis.bars(rows[0], gap)) <= 10
    assert len(axis.bars(rows[0], gap / 2)) > 10


def test_union_equals_a_count_of_milliseconds() -> None:
    rng = np.random.default_rng(0)
    rows, seen = [], {"a": np.zeros(30_000, bool), "b": np.zeros(30_000, bool)}
    for number in range(60):
        video = "ab"[number % 2]
        start, length = rng.integers(0, 28_000), rng.integers(0, 1500)
        seen[video][start : start + length] = True
        rows.append(Appearance(video, start / 1000, (start + length) / 1000, str(number)))
    expected = sum(int(mask.sum()) for mask in seen.values()) / 1000
    assert union_seconds(rows) == pytest.approx(expected)
    assert union_seconds([]) == 0


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["Show_S01E01.mp4", "Show_S01E02.mp4"], ["S01E01", "S01E02"]),
        (["one.mkv", "two.mkv"], ["one", "two"]),
        (["only.part.mkv"], ["only.part"]),
        (["same.mp4", "same.mp4"], ["same", "same"]),
        ([], []),
    ],
)
def test_short_names(names: list[str], short: list[str]) -> None:
    assert short_names(names) == short
