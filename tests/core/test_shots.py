from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from tests.helpers.videos import dissolve, shot, signals_of
from vcn_ray.core.shots import ShotConfig, find_shots, layout_change
from vcn_ray.core.signals import SignalReader, join_signals
from vcn_ray.io.frames import read_segment
from vcn_ray.io.keyframes import plan_segments
from vcn_ray.io.video import DecodeConfig
from vcn_ray.records import U8, FrameSignals

SPEEDS = (0, 2, 4, 10, 16, 24)  # of 256 pixels a frame: the last crosses the picture in 0.4 s


def cuts_of(signals: FrameSignals) -> list[int]:
    shots = find_shots(signals, ShotConfig())
    assert shots.starts[0] == 0
    assert shots.ends[-1] == len(signals)
    assert shots.ends[:-1].tolist() == shots.starts[1:].tolist()
    cuts: list[int] = shots.starts[1:].tolist()
    return cuts


def faded(pictures: list[U8], frames: int, level: int) -> list[U8]:
    """Pictures of which the first ones come out of black (0) or white (255)."""
    plain = np.full_like(pictures[0], level)
    weights = np.linspace(0, 1, frames + 2)[1:-1]
    coming = [
        np.asarray(cv2.addWeighted(plain, 1 - weight, picture, weight, 0), np.uint8)
        for weight, picture in zip(weights, pictures, strict=False)
    ]
    return [*coming, *pictures[frames:]]


def still(level: int, frames: int) -> list[U8]:
    return [np.full((144, 256, 3), level, np.uint8)] * frames


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


@pytest.mark.parametrize("frames", [3, 7])
def test_lights_that_fail_are_no_cut(frames: int) -> None:
    film = shot(300, 60, speed=1)
    for number in range(30, 30 + frames):
        film[number] = film[number] // 20
    assert cuts_of(signals_of(film)) == []


@pytest.mark.parametrize("seed", [310, 312, 314])
def test_a_picture_that_becomes_sharp_is_no_cut(seed: int) -> None:
    # At a low bit rate pictures are blurred, with blocks of wrong colour, until the next keyframe.
    errors = np.random.default_rng(seed).normal(size=(18, 32, 3)) * 8
    blocks = np.kron(errors, np.ones((8, 8, 1)))
    film = []
    for number, picture in enumerate(shot(seed, 120, speed=0.3)):
        grey = picture.mean(axis=2, keepdims=True)
        pale = grey + 0.15 * (picture - grey)
        coded = cv2.GaussianBlur(pale, (0, 0), 3) + blocks if number < 60 else pale
        film.append(np.clip(coded, 0, 255).astype(np.uint8))
    assert cuts_of(signals_of(film)) == []


def test_keyframes_of_a_low_bit_rate_are_no_cuts(shared: Path) -> None:
    signals = clip_signals(shared / "data" / "trials" / "t69_keyframe_pop.mkv", 5.0)
    found = signals.seconds[cuts_of(signals)]
    np.testing.assert_allclose(found, [2.64, 4.64, 7.44, 10.00, 12.56, 14.48], atol=0.02)


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize(("frames", "plain"), [(8, 2), (12, 15), (25, 1), (25, 75)])
def test_a_fade_through_a_colour_is_one_cut(frames: int, plain: int, level: int) -> None:
    film = [
        *faded(shot(400, 70)[::-1], frames, level)[::-1],
        *still(level, plain),
        *faded(shot(401, 70), frames, level),
    ]
    (cut,) = cuts_of(signals_of(film))
    assert 70 <= cut <= 70 + plain + frames / 4


def test_fades_at_the_ends_of_a_film_are_no_cuts() -> None:
    film = [*still(0, 20), *faded(shot(402, 60), 15, 0)]
    assert cuts_of(signals_of(film)) == []
    assert cuts_of(signals_of(film[::-1])) == []


def test_black_between_a_cut_and_a_fade_belongs_to_the_next_shot() -> None:
    film = [*shot(403, 60), *still(0, 20), *faded(shot(404, 60), 15, 0)]
    assert cuts_of(signals_of(film)) == [60]


@pytest.mark.parametrize("seed", [500, 502, 504])
def test_a_cut_in_the_dark_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    film = [
        np.clip(picture * 0.1 + rng.normal(size=picture.shape) * 2, 0, 255).astype(np.uint8)
        for picture in shot(seed, 50, speed=1) + shot(seed + 1, 50, speed=1)
    ]
    assert cuts_of(signals_of(film)) == [50]


@pytest.mark.parametrize("frames", [2, 5])
def test_a_cut_just_before_the_end_is_found(frames: int) -> None:
    assert cuts_of(signals_of(shot(1, 50, speed=2) + shot(2, frames))) == [50]


@pytest.mark.parametrize("rate", [0.5, 1, 2])
def test_cuts_are_found_between_few_frames(rate: float) -> None:
    lengths = [3, 1, 2, 4, 2, 1, 3]
    film = [
        picture
        for number, frames in enumerate(lengths)
        for picture in shot(20 + number, frames, speed=15)
    ]
    assert cuts_of(signals_of(film, rate, every=1)) == np.cumsum(lengths)[:-1].tolist()


def test_cuts_of_a_film_of_one_frame_a_second_are_found(shared: Path) -> None:
    signals = clip_signals(shared / "data" / "trials" / "t07_1fps.mp4", 20.0)
    assert len(cuts_of(signals)) == 21


def test_layout_change_is_of_the_layout_alone() -> None:
    rng = np.random.default_rng(0)
    layout = rng.integers(60, 160, (1, 192)).astype(np.uint8)
    other = rng.integers(60, 160, (1, 192)).astype(np.uint8)
    change = layout_change(layout, other)[0]
    assert layout_change(layout, layout)[0] == 0.0
    assert layout_change(layout, layout + np.uint8(40))[0] < 0.1 * change
    barred = [picture.copy().reshape(1, 8, 24) for picture in (layout, other)]
    for picture in barred:
        picture[:, [0, 1, 6, 7]] = 0  # black bars above and below
    with_bars = layout_change(*(picture.reshape(1, 192) for picture in barred))[0]
    assert with_bars == pytest.approx(change, rel=0.25)


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
        layout=np.zeros((0, 8, 8, 3), np.uint8),
        histogram=np.zeros((0, 64), np.float32),
        motion=np.zeros((0, 2, 3), np.float32),
        motion_known=empty.astype(bool),
    )
    assert len(find_shots(signals, ShotConfig())) == 0


def clip_signals(path: Path, seconds: float) -> FrameSignals:
    config, segments = DecodeConfig(segment_seconds=seconds), []
    for segment in plan_segments(path, config):
        frames = list(read_segment(path, segment, config))
        reader = SignalReader()
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
    "wrong", [{"min_change": -1}, {"dissolve_seconds": float("inf")}, {"shortest": 1}]
)
def test_senseless_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ShotConfig(**wrong)
