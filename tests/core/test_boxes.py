from __future__ import annotations

import numpy as np
import pytest

from vcn_ray.core.boxes import area, carry_box, pairwise_iou
from vcn_ray.errors import ShapeError


def iou_of_pixels(left, right) -> float:
    """Counts the pixels of two boxes with whole corners."""
    canvas = np.zeros((2, 40, 40), bool)
    for layer, (x0, y0, x1, y1) in zip(canvas, (left, right), strict=True):
        layer[y0:y1, x0:x1] = True
    union = canvas.any(axis=0).sum()
    return float(canvas.all(axis=0).sum() / union) if union else 0.0


def test_iou_counts_pixels():
    rng = np.random.default_rng(0)
    boxes = np.sort(rng.integers(0, 40, (30, 2, 2)), axis=1).reshape(30, 4)
    found = pairwise_iou(boxes[:12].astype(np.float32), boxes[12:].astype(np.float32))
    expected = [[iou_of_pixels(a, b) for b in boxes[12:]] for a in boxes[:12]]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_edge_cases():
    box = np.array([[2, 2, 6, 6]], np.float32)
    none = np.zeros((0, 4), np.float32)
    inside_out = np.array([[6, 6, 2, 2]], np.float32)
    assert pairwise_iou(box, box).tolist() == [[1.0]]
    assert pairwise_iou(box, box + 4).tolist() == [[0.0]]
    assert pairwise_iou(box, none).shape == (1, 0)
    assert pairwise_iou(inside_out, inside_out).tolist() == [[0.0]]
    assert area(np.concatenate([box, inside_out])).tolist() == [16.0, 0.0]
    with pytest.raises(ShapeError, match=r"\(n, 4\)"):
        area(np.zeros((3, 5), np.float32))


def test_a_box_goes_with_the_camera():
    box = np.array([10, 20, 30, 60], np.float32)
    shift = np.array([[1, 0, 5], [0, 1, -7]], np.float32)
    assert carry_box(box, shift).tolist() == [15, 13, 35, 53]
    zoom = np.array([[2, 0, 0], [0, 2, 0]], np.float32)
    assert carry_box(box, zoom).tolist() == [20, 40, 60, 120]
    quarter = np.array([[0, -1, 100], [1, 0, 0]], np.float32)  # the face stays upright in its box
    assert carry_box(box, quarter).tolist() == [50, 0, 70, 40]
