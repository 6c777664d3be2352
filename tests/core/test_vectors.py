from __future__ import annotations

import numpy as np
import pytest

from vcn_ray.core import vectors
from vcn_ray.core.vectors import (
    add_groups,
    area,
    check_pairs,
    group_sums,
    log_softmax,
    paired_iou,
    pairwise_iou,
    renumber,
    row_blocks,
    row_dots,
    softmax,
    tiles,
    unit_rows,
)
from vcn_ray.errors import ShapeError
from vcn_ray.records import I64


@pytest.mark.parametrize(("rows", "columns"), [(0, 5), (1, 1), (7, 3), (5, 4_000_001), (9, 0)])
def test_blocks_cover_every_row_once(rows: int, columns: int) -> None:
    seen = [row for block in row_blocks(rows, columns) for row in range(block.start, block.stop)]
    assert seen == list(range(rows))


@pytest.mark.parametrize("cells", [1, 20, 400, 4_000_000])
@pytest.mark.parametrize("above", [False, True])
def test_tiles_cover_every_pair_once(
    cells: int, above: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "BLOCK_CELLS", cells)
    seen = np.zeros((13, 13), int)
    for rows, columns in tiles(13, 13, above=above):
        seen[rows, columns] += 1
        assert seen[rows, columns].size <= max(1, cells // 4)
    assert seen.max() == 1
    assert (seen[np.triu_indices(13)] == 1).all()
    assert (seen == 1).all() or above
    assert list(tiles(0, 5)) == list(tiles(5, 0)) == []


def test_unit_rows_leave_the_input_and_a_zero_row_alone() -> None:
    rows = np.array([[3.0, 4.0], [0.0, 0.0]])
    assert np.allclose(unit_rows(rows), [[0.6, 0.8], [0.0, 0.0]])
    assert rows[0, 0] == 3


def test_softmax_is_safe_for_large_values() -> None:
    assert np.allclose(
        softmax(np.array([[1000.0, 1000.0], [-1000.0, 0.0]])), [[0.5, 0.5], [0.0, 1.0]]
    )
    assert np.isfinite(log_softmax(np.array([[1e4, -1e4]]))).all()
    assert softmax(np.zeros((0, 3))).shape == (0, 3)


def test_group_sums_with_groups_out_of_order_and_empty() -> None:
    rows = np.arange(8.0).reshape(4, 2)
    sums = group_sums(rows, np.array([2, 0, 2, 0]), 4)
    assert np.array_equal(sums, [[8, 10], [0, 0], [4, 6], [0, 0]])
    assert group_sums(np.zeros((0, 2)), np.zeros(0, np.int64), 3).sum() == 0
    with pytest.raises(ShapeError, match="group numbers"):
        group_sums(rows, np.array([0]), 1)


@pytest.mark.parametrize("cells", [1, 7, 4_000_000])
def test_group_sums_and_row_dots_in_any_blocks(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "BLOCK_CELLS", cells)
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, 11, 3)).astype(np.float32)
    group = rng.integers(0, 4, 11)
    want = [left[group == g].astype(np.float64).sum(axis=0) for g in range(5)]
    assert np.allclose(group_sums(left, group, 5), want, atol=1e-12)
    made = add_groups(np.ones((5, 3)), lambda rows: 2.0 * left[rows], group, 3)
    assert np.allclose(made, 1 + 2 * np.array(want), atol=1e-6)
    assert group_sums(group, group, 5).tolist() == [g * (group == g).sum() for g in range(5)]
    dots = row_dots(left, right)
    assert dots.dtype == np.float64
    assert np.allclose(dots, (left.astype(np.float64) * right).sum(axis=1), atol=1e-12)


def test_renumber_follows_the_first_row() -> None:
    assert renumber(np.array([7, 3, 7, 9, 3])).tolist() == [0, 1, 0, 2, 1]
    assert renumber(np.zeros(0, np.int64)).tolist() == []


@pytest.mark.parametrize("pairs", [[[0, 3]], [[-1, 0]]])
def test_pairs_beyond_the_rows_are_refused(pairs: list[list[int]]) -> None:
    with pytest.raises(ShapeError, match=r"rows 0\.\.2"):
        check_pairs(np.array(pairs), 3)


def test_pairs_of_the_wrong_shape_are_refused() -> None:
    with pytest.raises(ShapeError, match="shape"):
        check_pairs(np.zeros(4, np.int64), 3)


def iou_of_pixels(left: I64, right: I64) -> float:
    """Counts the pixels of two boxes with whole corners."""
    canvas = np.zeros((2, 40, 40), bool)
    for layer, (x0, y0, x1, y1) in zip(canvas, (left, right), strict=True):
        layer[y0:y1, x0:x1] = True
    union = canvas.any(axis=0).sum()
    return float(canvas.all(axis=0).sum() / union) if union else 0.0


def test_iou_counts_pixels() -> None:
    rng = np.random.default_rng(0)
    boxes = np.sort(rng.integers(0, 40, (30, 2, 2)), axis=1).reshape(30, 4)
    found = pairwise_iou(boxes[:12].astype(np.float32), boxes[12:].astype(np.float32))
    expected = [[iou_of_pixels(a, b) for b in boxes[12:]] for a in boxes[:12]]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    paired = paired_iou(boxes[:12].astype(np.float32), boxes[12:24].astype(np.float32))
    np.testing.assert_array_equal(paired, np.diagonal(found[:, :12]))


def test_iou_and_area_of_empty_and_equal_boxes() -> None:
    box = np.array([[2, 2, 6, 6]], np.float32)
    none = np.zeros((0, 4), np.float32)
    inside_out = np.array([[6, 6, 2, 2]], np.float32)
    assert pairwise_iou(box, box).tolist() == [[1.0]]
    assert pairwise_iou(box, box + 4).tolist() == [[0.0]]
    assert pairwise_iou(box, none).shape == (1, 0)
    assert pairwise_iou(inside_out, inside_out).tolist() == [[0.0]]
    assert paired_iou(inside_out, inside_out).tolist() == [0.0]
    assert paired_iou(none, none).shape == (0,)
    with pytest.raises(ShapeError, match="one length, got 1, 0"):
        paired_iou(box, none)
    assert area(np.concatenate([box, inside_out])).tolist() == [16.0, 0.0]
    with pytest.raises(ShapeError, match=r"\(n, 4\)"):
        area(np.zeros((3, 5), np.float32))
