"""Decoding and suppression against one cell, one pair at a time, and against the originals."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from insightface.model_zoo.scrfd import SCRFD

from vcn_ray.errors import ShapeError
from vcn_ray.models.detector_outputs import (
    Candidates,
    decode_distances,
    decode_yunet,
    join,
    suppress,
)
from vcn_ray.records import F32

SIZE = (64, 96)


def rows_of(rng: np.random.Generator, stride: int, anchors: int, columns: int) -> F32:
    rows = (SIZE[0] // stride) * (SIZE[1] // stride) * anchors
    return rng.uniform(0, 1, (3, rows, columns)).astype(np.float32)


def faces_of(found: Candidates, picture: int) -> list[list[float]]:
    rows = np.flatnonzero(found.picture == picture)
    return sorted(
        [float(found.scores[n]), *found.boxes[n].tolist(), *found.landmarks[n].ravel().tolist()]
        for n in rows
    )


@pytest.mark.parametrize("strides", [(8, 16, 32), (8, 16, 32, 64)])
@pytest.mark.parametrize("anchors", [1, 2, 3])
def test_distances_equal_a_walk_over_the_cells(strides: tuple[int, ...], anchors: int) -> None:
    rng = np.random.default_rng(anchors)
    usable = [stride for stride in strides if SIZE[1] >= stride and SIZE[0] >= stride]
    levels = [[rows_of(rng, s, anchors, k) for s in usable] for k in (1, 4, 10)]
    found = decode_distances([o for head in levels for o in head], usable, SIZE, 0.9)
    for picture in range(3):
        expected = []
        for level, stride in enumerate(usable):
            columns = SIZE[1] // stride
            for row in range(levels[0][level].shape[1]):
                score = float(levels[0][level][picture, row, 0])
                if score < np.float32(0.9):
                    continue
                y, x = divmod(row // anchors, columns)
                left, top, right, bottom = levels[1][level][picture, row].astype(float)
                points = levels[2][level][picture, row].astype(float).reshape(5, 2)
                box = [x - left, y - top, x + right, y + bottom]
                placed = np.add(points, [x, y]).ravel().tolist()
                expected.append([score, *(stride * v for v in box), *(stride * v for v in placed)])
        np.testing.assert_allclose(faces_of(found, picture), sorted(expected), atol=1e-4)
    assert (np.diff(found.picture) >= 0).all()


def test_yunet_equals_a_walk_over_the_cells() -> None:
    rng = np.random.default_rng(0)
    strides = (8, 16, 32)
    heads = [[rows_of(rng, s, 1, k) for s in strides] for k in (1, 1, 4, 10)]
    heads[0][0][0, :5] = 1.5  # over 1 counts as 1
    found = decode_yunet([o for head in heads for o in head], strides, SIZE, 0.8)
    for picture in range(3):
        expected = []
        for level, stride in enumerate(strides):
            for row in range(heads[0][level].shape[1]):
                kind, there = (min(1.0, float(heads[n][level][picture, row, 0])) for n in (0, 1))
                if (kind * there) ** 0.5 < 0.8:
                    continue
                y, x = divmod(row, SIZE[1] // stride)
                dx, dy, wide, tall = heads[2][level][picture, row].astype(float)
                w, h = np.exp(wide) * stride, np.exp(tall) * stride
                left, top = (x + dx) * stride - w / 2, (y + dy) * stride - h / 2
                points = heads[3][level][picture, row].astype(float).reshape(5, 2)
                placed = (np.add(points, [x, y]) * stride).ravel().tolist()
                expected.append([(kind * there) ** 0.5, left, top, left + w, top + h, *placed])
        np.testing.assert_allclose(faces_of(found, picture), sorted(expected), atol=1e-4)


def test_no_face_reaches_the_minimum_score() -> None:
    outputs = [np.zeros((2, 96, k), np.float32) for k in (1, 4, 10)]
    found = decode_distances(outputs, (8,), SIZE, 0.5)
    assert len(found) == 0
    assert [len(faces) for faces in suppress(found, found.boxes, 0.4).split(2)] == [0, 0]


@pytest.mark.parametrize(
    "shapes",
    [
        [(1, 95, 1), (1, 95, 4), (1, 95, 10)],  # no whole times 96 cells
        [(1, 96, 1), (1, 96, 4), (1, 96, 8)],
        [(1, 96, 1), (2, 96, 4), (1, 96, 10)],
        [(96, 1), (96, 4), (96, 10)],
        [(1, 96, 1), (1, 96, 4)],
    ],
)
def test_other_outputs_are_refused(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ShapeError):
        decode_distances([np.zeros(shape, np.float32) for shape in shapes], (8,), SIZE, 0.5)
    with pytest.raises(ShapeError):
        decode_yunet([np.zeros(shape, np.float32) for shape in shapes], (8,), SIZE, 0.5)


def crowd(rng: np.random.Generator, pictures: int, count: int) -> Candidates:
    """Boxes in clusters, so that many overlap."""
    corner = rng.integers(0, 4, (count, 2)) * 60 + rng.normal(0, 12, (count, 2))
    side = rng.uniform(30, 70, (count, 2))
    scores = (1 + rng.permutation(count)) / count
    return join(
        [
            Candidates(
                rng.integers(0, pictures, count),
                np.hstack([corner, corner + side]).astype(np.float32),
                scores.astype(np.float32),
                np.zeros((count, 5, 2), np.float32),
            )
        ]
    )


@pytest.mark.parametrize("count", [1, 2, 400])
def test_suppression_equals_insightface(count: int) -> None:
    found = crowd(np.random.default_rng(count), 4, count)
    kept = suppress(found, found.boxes, 0.4, edge=1)
    original = SCRFD.__new__(SCRFD)  # its method needs no network
    original.nms_thresh = 0.4
    for picture in range(4):
        one = found.take(np.flatnonzero(found.picture == picture))
        expected = one.boxes[original.nms(np.hstack([one.boxes, one.scores[:, None]]))]
        np.testing.assert_array_equal(kept.boxes[kept.picture == picture], expected)


@pytest.mark.parametrize("count", [1, 2, 400])
def test_suppression_equals_opencv(count: int) -> None:
    found = crowd(np.random.default_rng(count), 4, count)
    whole = np.trunc(found.boxes)
    kept = suppress(found, whole, 0.3)
    for picture in range(4):
        rows = np.flatnonzero(found.picture == picture)
        boxes = np.hstack([whole[rows, :2], whole[rows, 2:] - whole[rows, :2]]).astype(int)
        chosen = cv2.dnn.NMSBoxes(boxes.tolist(), found.scores[rows].tolist(), 0.0, 0.3)
        expected = found.boxes[rows[np.array(chosen, int)]]
        np.testing.assert_array_equal(kept.boxes[kept.picture == picture], expected)


def test_empty_boxes_count_as_the_same() -> None:
    found = crowd(np.random.default_rng(0), 1, 2)
    assert len(suppress(found, np.zeros((2, 4)), 0.3)) == 1


def test_of_equal_scores_the_earlier_comes_first() -> None:
    one = crowd(np.random.default_rng(0), 1, 3)
    level = Candidates(one.picture, one.boxes, np.ones(3, np.float32), one.landmarks)
    np.testing.assert_array_equal(join([level, level]).boxes, np.tile(one.boxes, (2, 1)))
