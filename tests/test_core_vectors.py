import numpy as np
import pytest

from vcn_ray.core.vectors import (
    check_pairs,
    group_sums,
    log_softmax,
    renumber,
    row_blocks,
    softmax,
    unit_rows,
)
from vcn_ray.errors import ShapeError


@pytest.mark.parametrize(("rows", "columns"), [(0, 5), (1, 1), (7, 3), (5, 4_000_001), (9, 0)])
def test_blocks_cover_every_row_once(rows, columns):
    seen = [row for block in row_blocks(rows, columns) for row in range(block.start, block.stop)]
    assert seen == list(range(rows))


def test_unit_rows_leave_the_input_and_a_zero_row_alone():
    rows = np.array([[3.0, 4.0], [0.0, 0.0]])
    assert np.allclose(unit_rows(rows), [[0.6, 0.8], [0, 0]])
    assert rows[0, 0] == 3


def test_softmax_is_safe_for_large_values():
    assert np.allclose(softmax(np.array([[1000.0, 1000.0], [-1000.0, 0.0]])), [[0.5, 0.5], [0, 1]])
    assert np.isfinite(log_softmax(np.array([[1e4, -1e4]]))).all()
    assert softmax(np.zeros((0, 3))).shape == (0, 3)


def test_group_sums_with_groups_out_of_order_and_empty():
    rows = np.arange(8.0).reshape(4, 2)
    sums = group_sums(rows, np.array([2, 0, 2, 0]), 4)
    assert np.array_equal(sums, [[8, 10], [0, 0], [4, 6], [0, 0]])
    assert group_sums(np.zeros((0, 2)), np.zeros(0, np.int64), 3).sum() == 0
    with pytest.raises(ShapeError, match="group numbers"):
        group_sums(rows, np.array([0]), 1)


def test_renumber_follows_the_first_row():
    assert renumber(np.array([7, 3, 7, 9, 3])).tolist() == [0, 1, 0, 2, 1]
    assert renumber(np.zeros(0, np.int64)).tolist() == []


@pytest.mark.parametrize("pairs", [[[0, 3]], [[-1, 0]]])
def test_pairs_beyond_the_rows_are_refused(pairs):
    with pytest.raises(ShapeError, match=r"rows 0\.\.2"):
        check_pairs(np.array(pairs), 3)


def test_pairs_of_the_wrong_shape_are_refused():
    with pytest.raises(ShapeError, match="shape"):
        check_pairs(np.zeros(4, np.int64), 3)
