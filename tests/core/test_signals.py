from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.helpers.videos import RATE, look, scene, shot, signals_of
from vcn_ray.core.signals import (
    SegmentSignals,
    Shown,
    SignalReader,
    camera_motion,
    colour_histogram,
    join_signals,
    picture_layout,
)
from vcn_ray.errors import ShapeError
from vcn_ray.records import U8

PICTURES = shot(1, 20, speed=4) + shot(2, 20, speed=3)
SIZE = (256, 144)


def read(pictures: list[U8], first: int = 0) -> SegmentSignals:
    reader = SignalReader()
    for number, picture in enumerate(pictures):
        analysed = (first + number) % 5 == 0
        seconds = (first + number) / RATE
        reader.add(picture, seconds, analysed=analysed, shown=Shown(512, 288))
    return reader.result()


def test_layout_is_the_mean_of_cells() -> None:
    picture = PICTURES[0]
    cell = picture[18:36, 224:256].reshape(-1, 3).mean(axis=0)
    found = picture_layout(picture)
    assert found.shape == (8, 8, 3)
    np.testing.assert_allclose(found[1, 7], cell, atol=0.51)


def test_layout_of_a_blurred_picture_is_nearly_the_same() -> None:
    sharp, other = PICTURES[0], PICTURES[-1]
    blurred = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 4), np.uint8)
    layout = picture_layout(sharp).astype(float)
    from_blur = np.abs(picture_layout(blurred) - layout).mean()
    assert from_blur < 0.1 * np.abs(picture_layout(other) - layout).mean()


def test_joined_segments_are_as_one() -> None:
    expected = join_signals([read(PICTURES)])
    found = join_signals([read(PICTURES[a:b], a) for a, b in ((0, 15), (15, 20), (20, 40))])
    for name in ("seconds", "analysed", "layout", "histogram", "motion", "motion_known"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_allclose(found.histogram.sum(axis=1), 1.0, rtol=1e-5)


def test_a_video_may_change_its_shape_between_segments() -> None:
    smaller = [np.ascontiguousarray(picture[::2, ::2]) for picture in PICTURES[:15]]
    found = join_signals([read(smaller), read(PICTURES[15:], 15)])
    whole = join_signals([read(PICTURES)])
    assert len(found) == len(whole)
    difference = np.abs(found.layout[15].astype(int) - whole.layout[15])
    assert difference.max() == 0
    assert found.motion_known[15]


def test_signals_need_frames() -> None:
    with pytest.raises(ShapeError, match="at least one frame"):
        SignalReader().result()
    with pytest.raises(ShapeError, match="at least one segment"):
        join_signals([])
    with pytest.raises(ShapeError, match="one size"):
        camera_motion(PICTURES[0], PICTURES[0][:-1])


@pytest.mark.parametrize(
    ("shift", "zoom"), [((0, 0), 1.0), ((9, -4), 1.0), ((-25, 12), 1.0), ((5, 0), 1.1)]
)
def test_camera_motion_is_that_of_the_camera(shift: tuple[int, int], zoom: float) -> None:
    picture, middle = scene(3), np.array([256.0, 256.0])
    before, after = look(picture, middle, SIZE), look(picture, middle - shift, SIZE, zoom)
    corners = np.array([[60.0, 40.0], [200.0, 100.0]])
    in_scene = corners - np.array(SIZE) / 2 + middle
    expected = zoom * (in_scene - (middle - shift)) + np.array(SIZE) / 2
    motion = camera_motion(before, after)
    np.testing.assert_allclose(corners @ motion[:, :2].T + motion[:, 2], expected, atol=0.6)
    np.testing.assert_array_equal(motion, camera_motion(before, after))


def test_a_moving_face_is_not_the_camera() -> None:
    background, face = look(scene(3), (256, 256), SIZE), look(scene(8), (99, 99), (60, 70))
    pictures = [background.copy(), background.copy()]
    pictures[0][30:100, 80:140] = face
    pictures[1][34:104, 92:152] = face
    motion = camera_motion(*pictures)
    np.testing.assert_allclose(motion, np.eye(2, 3), atol=0.2)


def test_motion_is_unknown_across_a_cut_and_on_a_blank_wall() -> None:
    wall = np.full((144, 256, 3), 90, np.uint8)
    assert np.isnan(camera_motion(PICTURES[0], PICTURES[-1])).all()
    assert np.isnan(camera_motion(wall, wall)).all()
    joined = signals_of([PICTURES[0], PICTURES[-1], wall, wall], every=1)
    np.testing.assert_array_equal(joined.motion, np.tile(np.eye(2, 3), (4, 1, 1)))
    assert joined.motion_known.tolist() == [True, False, False, False]


def test_motion_is_known_only_where_frames_are_analysed() -> None:
    joined = signals_of(PICTURES[:7], every=3)
    assert joined.motion_known.tolist() == [True, False, False, True, False, False, True]


def test_motion_is_in_displayed_pixels() -> None:
    picture = scene(3)
    small = [look(picture, (256 + 6 * n, 256), SIZE) for n in range(2)]
    reader = SignalReader()
    for number, seen in enumerate(small):
        signal = reader.add(seen, number / RATE, analysed=True, shown=Shown(1024, 576))
    assert signal.motion[0, 2] == pytest.approx(-24.0, abs=1.0)


def test_histogram_counts_colours() -> None:
    picture = np.zeros((10, 10, 3), np.uint8)
    picture[:5] = (255, 0, 130)
    found = colour_histogram(picture)
    assert found.shape == (64,)
    assert (found[0], found[3 * 16 + 0 * 4 + 2]) == (128, 128)
    assert np.count_nonzero(found) == 2


def test_motion_goes_on_where_the_size_changes() -> None:
    """What was in the middle of the smaller picture is in the middle of the larger one."""
    picture = scene(3)
    reader = SignalReader()
    reader.add(look(picture, (256, 256), SIZE), 0.0, analysed=True, shown=Shown(512, 288))
    later = look(picture, (256, 256), SIZE)
    signal = reader.add(later, 1 / RATE, analysed=True, shown=Shown(1024, 288))
    assert signal.motion @ [256, 144, 1] == pytest.approx([512, 144], abs=1.0)
    larger = look(picture, (256, 256), (512, 288), 2.0)
    signal = reader.add(larger, 2 / RATE, analysed=True, shown=Shown(2048, 576))
    assert signal.motion @ [512, 144, 1] == pytest.approx([1024, 288], abs=3.0)
    assert signal.motion[0, 0] == pytest.approx(2.0, abs=0.02)
