"""Tiles cover a frame, and faces too small in the whole are found in them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vcn_ray.errors import PackError
from vcn_ray.models.detector_inputs import TILE_OVERLAP, Tile, tile_frame
from vcn_ray.models.detector_outputs import Candidates, place_tile
from vcn_ray.models.detectors import ScrfdDetector, YuNetDetector
from vcn_ray.packs.check import PICTURE_FACES, faces_in_boxes, read_picture
from vcn_ray.records import U8


@pytest.mark.parametrize(("height", "width"), [(2160, 3840), (7, 5), (1, 1), (101, 33)])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_tiles_cover_the_frame(height: int, width: int, count: int) -> None:
    seen = np.zeros((height, width), int)
    tiles = tile_frame(height, width, count)
    assert len(tiles) == count**2
    assert len({(tile.width, tile.height) for tile in tiles}) == 1
    for x, y, wide, tall in tiles:
        assert x >= 0
        assert y >= 0
        assert x + wide <= width
        assert y + tall <= height
        seen[y : y + tall, x : x + wide] += 1
    assert (seen > 0).all()


def test_tiles_overlap_by_their_fraction() -> None:
    first, second, *_ = tile_frame(2160, 3840, 2)
    assert (first.x + first.width - second.x) / first.width == pytest.approx(TILE_OVERLAP, abs=0.01)


def test_what_a_tile_cuts_is_left_to_its_neighbour() -> None:
    boxes = np.array([[10, 10, 40, 40], [70, 10, 100, 40], [0, 10, 30, 40]], np.float32)
    points = np.zeros((3, 5, 2), np.float32)
    found = Candidates(np.zeros(3, np.int64), boxes, np.ones(3, np.float32), points)
    left = place_tile(found, Tile(0, 0, 100, 100), 100, 175)  # the frame's edge cuts, and may
    np.testing.assert_array_equal(left.boxes, boxes[[0, 2]])
    right = place_tile(found, Tile(75, 0, 100, 100), 100, 175)
    np.testing.assert_array_equal(right.boxes, np.add(boxes[:2], [75, 0, 75, 0]))
    np.testing.assert_array_equal(right.landmarks[..., 0], np.full((2, 5), 75))


@pytest.fixture(scope="module")
def wide_frame() -> U8:
    """The picture of six people, small in a corner of a 4K frame: faces of about 20 pixels."""
    frame = np.full((2160, 3840, 3), 90, np.uint8)
    frame[1300:1520, 2400:2720] = cv2.resize(
        read_picture(), (320, 220), interpolation=cv2.INTER_AREA
    )
    return frame


def hits(boxes: np.ndarray) -> int:
    scale = np.array([1280 / 320, 886 / 220] * 2)
    there = faces_in_boxes(((boxes - [2400, 1300, 2400, 1300]) * scale).astype(np.float32))
    assert (there.sum(axis=1) <= 1).all()  # nobody twice
    return int(there.sum())


@pytest.mark.parametrize("kind", ["yunet", "scrfd"])
def test_faces_too_small_without(shared: Path, wide_frame: U8, kind: str) -> None:
    models = shared / "models"
    path = models / (
        "scrfd_500m/det_500m.onnx" if kind == "scrfd" else "yunet/yunet_n_dynamic.onnx"
    )
    make = ScrfdDetector if kind == "scrfd" else YuNetDetector
    frames = np.stack([wide_frame, np.zeros_like(wide_frame)])
    without = make(path, 0.5, 960).detect(frames)
    tiled = make(path, 0.5, 960, tiles=3).detect(frames)
    assert hits(without[0].boxes) == 0
    assert hits(tiled[0].boxes) == len(PICTURE_FACES)
    assert len(tiled[0]) == len(PICTURE_FACES)
    assert (np.diff(tiled[0].scores) <= 0).all()
    assert len(tiled[1]) == 0


@pytest.mark.parametrize("kind", ["yunet", "scrfd"])
def test_tiles_find_nobody_twice(shared: Path, kind: str) -> None:
    models = shared / "models"
    path = models / (
        "scrfd_500m/det_500m.onnx" if kind == "scrfd" else "yunet/yunet_n_dynamic.onnx"
    )
    make = ScrfdDetector if kind == "scrfd" else YuNetDetector
    picture = read_picture()[None]
    assert len(make(path, 0.5, 640, tiles=2).detect(picture)[0]) == len(PICTURE_FACES)
    assert len(make(path, 0.5, 640, tiles=3).detect(picture)[0]) == len(PICTURE_FACES)


def test_no_tiles_at_all_is_refused(shared: Path) -> None:
    with pytest.raises(PackError, match="at least 1 tile"):
        ScrfdDetector(shared / "models" / "scrfd_500m" / "det_500m.onnx", 0.5, tiles=0)
