import itertools

import numpy as np
import pytest

from vcn_ray.errors import ShapeError
from vcn_ray.learn.agreement import pair_agreement, partition_agreement


def together(label: np.ndarray) -> set[tuple[int, int]]:
    """Every pair of rows with one label, written out."""
    rows = itertools.combinations(range(len(label)), 2)
    return {(i, j) for i, j in rows if label[i] == label[j]}


def jaccard(left: set[tuple[int, int]], right: set[tuple[int, int]]) -> float:
    return len(left & right) / len(left | right) if left | right else 1.0


@pytest.mark.parametrize("seed", range(8))
def test_agreement_equals_the_listed_pairs(seed: int):
    rng = np.random.default_rng(seed)
    left, right = rng.integers(0, rng.integers(1, 9), (2, rng.integers(1, 30)))
    want = jaccard(together(left), together(right))
    assert partition_agreement(left, right) == pytest.approx(want)
    assert partition_agreement(right, left) == pytest.approx(want)
    pairs = [np.array(sorted(together(x)), np.int64).reshape(-1, 2) for x in (left, right)]
    assert pair_agreement(pairs[0], pairs[1][::-1, ::-1]) == pytest.approx(want)


def test_names_of_groups_do_not_matter():
    left = np.array([5, 5, 2, 2, 9])
    assert partition_agreement(left, np.array([0, 0, 1, 1, 2])) == 1
    assert partition_agreement(left, np.array([0, 0, 0, 0, 0])) == pytest.approx(2 / 10)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_nothing_together_on_either_side_is_no_difference(count: int):
    alone = np.arange(count)
    assert partition_agreement(alone, alone[::-1]) == 1
    none = np.zeros((0, 2), np.int64)
    assert pair_agreement(none, none) == 1
    assert pair_agreement(none, np.array([[0, 1]])) == 0


def test_a_million_tracks_of_one_person_do_not_overflow():
    one, half = np.zeros(1_000_000, np.int64), np.arange(1_000_000) // 500_000
    assert partition_agreement(one, half) == pytest.approx(0.5, abs=1e-5)


def test_other_lengths_are_refused():
    with pytest.raises(ShapeError, match="one shape"):
        partition_agreement(np.zeros(3, np.int64), np.zeros(4, np.int64))
