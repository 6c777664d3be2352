from dataclasses import replace

import numpy as np
import pytest

from tests import reference
from tests.helpers.core_data import made_title
from vcn_ray.core import vectors
from vcn_ray.core.distance import (
    mean_within,
    mean_within_groups,
    soft_assign,
)
from vcn_ray.core.spaces import loss_space
from vcn_ray.errors import ShapeError

TAU_T, TAU_S = 0.07, 0.1


def sides(outputs, centre):
    """P and Q in float64, as the literal formula has them."""
    return (
        vectors.softmax((outputs - centre) / TAU_T),
        vectors.log_softmax(outputs / TAU_S),
    )


@pytest.fixture
def crops():
    rng = np.random.default_rng(3)
    return rng.normal(0, 0.4, (9, 12)), rng.normal(0, 0.2, 12)


def test_the_closed_form_of_a_pair_is_the_loss(crops):
    outputs, centre = crops
    teacher, student = sides(outputs, centre)
    for i, k in [(0, 1), (1, 0), (4, 4)]:
        literal = reference.loss(outputs[i], outputs[k], centre, TAU_T, TAU_S)
        assert -teacher[i] @ student[k] == pytest.approx(literal, abs=1e-10)


@pytest.mark.parametrize("rows", [[0], [0, 1], [2, 2, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8]])
def test_mean_within_equals_the_double_loop(crops, rows):
    teacher, student = (side[rows] for side in sides(*crops))
    literal = reference.mean_within(teacher, student)
    assert mean_within(teacher, student) == pytest.approx(literal, abs=1e-10)


def test_mean_within_of_large_outputs_equals_the_double_loop():
    rng = np.random.default_rng(5)
    teacher, student = sides(rng.normal(0, 30, (6, 40)), np.zeros(40))
    literal = reference.mean_within(teacher, student)
    assert mean_within(teacher, student) == pytest.approx(literal, rel=1e-12)


def test_mean_within_of_groups_equals_that_of_each(crops):
    teacher, student = sides(*crops)
    group = np.array([3, 0, 3, 0, 0, 2, 3, 3, 0])
    found = mean_within_groups(teacher, student, group, 5)
    literal = [
        reference.mean_within(teacher[group == g], student[group == g]) if (group == g).any() else 0
        for g in range(5)
    ]
    assert np.abs(found - literal).max() < 1e-10


@pytest.mark.parametrize("cells", [4, 4_000_000])
def test_all_pairs_of_tracks_equal_the_double_loop_in_any_blocks(crops, cells, monkeypatch):
    monkeypatch.setattr(vectors, "BLOCK_CELLS", cells)
    teacher, student = sides(*crops)
    track = np.array([0, 0, 0, 1, 2, 2, 3, 3, 3])
    p, q = (np.stack([s[track == t].mean(axis=0) for t in range(4)]) for s in (teacher, student))
    space = loss_space(replace(made_title(range(4)), teacher=p, student=q))
    found = space.offset - space.left @ space.right.T
    for i in range(4):
        for k in range(4):
            a, b = track == i, track == k
            literal = reference.mean_between(teacher[a], student[a], teacher[b], student[b])
            assert found[i, k] == pytest.approx(literal, abs=1e-10)


def test_soft_assign_is_the_two_sides_in_float32(crops):
    outputs, centre = crops
    found = soft_assign(outputs, centre, TAU_T, TAU_S)
    for got, want in zip(found, sides(outputs, centre), strict=True):
        assert got.dtype == np.float32
        assert np.allclose(got, want, atol=1e-5)


def test_shapes_that_do_not_belong_together_are_refused(crops):
    outputs, centre = crops
    with pytest.raises(ShapeError, match="centre"):
        soft_assign(outputs, centre[1:], TAU_T, TAU_S)
    with pytest.raises(ShapeError, match="without crops"):
        mean_within(outputs[:0], outputs[:0])
    with pytest.raises(ShapeError, match="one shape"):
        mean_within_groups(outputs, outputs[1:], np.zeros(9, np.int64), 1)
