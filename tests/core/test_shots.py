from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tests.helpers.videos import dissolve, shot, signals_of
from vcn_ray.core.shots import ShotConfig, find_shots
from vcn_ray.core.signals import SignalReader, join_signals
from vcn_ray.io.frames import read_segment
from vcn_ray.io.keyframes import plan_segments
from vcn_ray.io.video import DecodeConfig
from vcn_ray.records import FrameSignals

SPEEDS = (0, 2, 4, 10, 16, 24)  # of 256 pixels a frame: the last crosses the picture in 0.4 s


def cuts_of(signals: FrameSignals) -> list[int]:
    shots = find_shots(signals, ShotConfig())
    assert shots.starts[0] == 0
    assert shots.ends[-1] == len(signals)
    assert shots.ends[:-1].tolist() == shots.starts[1:].tolist()
    cuts: list[int] = shots.starts[1:].tolist()
    return cuts


@pytest.mark.parametrize("seed", range(0, 42, 7))
def test_every_cut_between_fast_moves_is_found_and_no_other(seed: int) -> None:
    lengths = [12, 30, 25, 40, 15, 28]
    shots = [
        shot(
            seed + number,
            frames,
            speed=SPEEDS[(seed + number) % 6],
            shake=(0, 1.5, 0, 4)[number % 4],
            zooming=(1.0, 1.01, 0.99)[number % 3],
        )
        for number, frames in enumerate(lengths)
    ]
    film = list(itertools.chain.from_iterable(shots))
    assert cuts_of(signals_of(film)) == np.cumsum(lengths)[:-1].tolist()


@pytest.mark.parametrize("rate", [12, 60])
def test_cuts_are_found_at_other_rates(rate: int) -> None:
    film = shot(1, 2 * rate, speed=120 / rate) + shot(2, 2 * rate, speed=60 / rate)
    assert cuts_of(signals_of(film, rate)) == [2 * rate]


def test_frames_that_repeat_are_no_cuts() -> None:
    film = [picture for picture in shot(3, 40, speed=12) for _ in range(3)]
    assert cuts_of(signals_of(film, rate=60)) == []


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("seed", [200, 201, 202])
def test_a_moving_camera_cuts_nothing(seed: int, speed: float) -> None:
    assert cuts_of(signals_of(shot(seed, 75, speed=speed))) == []


@pytest.mark.parametrize("frames", [12, 25, 40])
@pytest.mark.parametrize("seed", [100, 104, 106])
def test_a_dissolve_is_cut_near_its_middle(seed: int, frames: int) -> None:
    film = dissolve(shot(seed, 70, speed=1), shot(seed + 1, 70, speed=1), frames)
    (cut,) = cuts_of(signals_of(film))
    assert abs(cut - (70 - frames / 2)) <= frames / 3


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_a_flash_is_no_cut(frames: int) -> None:
    film = shot(300, 60, speed=2)
    for number in range(30, 30 + frames):
        film[number] = np.clip(film[number].astype(int) + 120, 0, 255).astype(np.uint8)
    assert cuts_of(signals_of(film)) == []


def test_shots_have_a_least_length() -> None:
    film = shot(1, 40) + shot(2, 4) + shot(3, 40)
    (cut,) = cuts_of(signals_of(film))
    assert cut in (40, 44)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_very_short_films(frames: int) -> None:
    assert cuts_of(signals_of(shot(1, frames))) == []


def test_a_film_without_frames_has_no_shots() -> None:
    empty = np.zeros(0)
    signals = FrameSignals(
        seconds=empty,
        analysed=empty.astype(bool),
        content=empty.astype(np.float32),
        histogram=np.zeros((0, 64), np.float32),
        motion=np.zeros((0, 2, 3), np.float32),
    )
    assert len(find_shots(signals, ShotConfig())) == 0


def clip_signals(path: Path, seconds: float) -> FrameSignals:
    config, segments = DecodeConfig(segment_seconds=seconds), []
    for segment in plan_segments(path, config):
        frames = list(read_segment(path, segment, config))
        reader = SignalReader(frames[0].displayed_width)
        for frame in frames:
            reader.add(frame.small, frame.seconds, analysed=frame.analysed)
        segments.append(reader.result())
    return join_signals(segments)


@pytest.mark.parametrize(
    ("name", "cuts"),
    [
        ("face_then_cartoon_cut.mov", [73]),  # behind the one black frame of the cut
        ("grid_bbaf2n.mpg", []),
        ("one_face_expressions.mp4", []),
    ],
)
def test_clips_have_the_cuts_one_sees(shared: Path, name: str, cuts: list[int]) -> None:
    # Segments of two seconds: shots must not depend on where a video was cut for reading.
    assert cuts_of(clip_signals(shared / "data" / "videos" / name, 2.0)) == cuts


@pytest.mark.parametrize(
    "wrong", [{"min_content": -1}, {"dissolve_seconds": float("inf")}, {"shortest": 1}]
)
def test_senseless_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ShotConfig(**wrong)
