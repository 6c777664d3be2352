"""Which crops are paired (METHOD 2.2), and how far two matchings of tracks agree (METHOD 2.6)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from vcn_ray.errors import ShapeError
from vcn_ray.learn.pairs import (
    EACH_WAY,
    Matches,
    PairSampler,
    draw_views,
    pair_agreement,
    pairs_of_groups,
    partition_agreement,
)
from vcn_ray.records import I64

TRACK = np.array([0, 2, 0, 1, 2, 2, 0, 3, 2, 0])  # crops of tracks 0..3: 4, 1, 4, 1
NO_MATCHES = np.zeros((0, 2), np.int64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def epochs(epoch: Callable[[torch.Generator], torch.Tensor], count: int = 200) -> I64:
    """(p, 2) pairs of so many epochs from one seed, one after the other."""
    source = generator()
    return np.concatenate([epoch(source).numpy() for _ in range(count)])


def test_every_crop_once_with_another_of_its_track() -> None:
    pairs = PairSampler(TRACK, NO_MATCHES).epoch(generator()).numpy()
    assert sorted(pairs[:, 0]) == list(range(len(TRACK)))
    assert (TRACK[pairs[:, 0]] == TRACK[pairs[:, 1]]).all()
    alone = np.isin(TRACK[pairs[:, 0]], (1, 3))
    assert ((pairs[:, 0] == pairs[:, 1]) == alone).all()


def test_all_partners_are_about_equally_likely() -> None:
    pairs = epochs(PairSampler(TRACK, NO_MATCHES).epoch, 600)
    partners = pairs[pairs[:, 0] == 0, 1]
    counts = np.bincount(partners, minlength=len(TRACK))[[2, 6, 9]]
    assert counts.sum() == 600
    assert counts.min() > 150


def test_half_of_the_partners_come_from_matched_tracks() -> None:
    pairs = epochs(PairSampler(TRACK, np.array([[0, 1], [2, 0]])).epoch, 300)
    first, second = TRACK[pairs[:, 0]], TRACK[pairs[:, 1]]
    for track, mates in ((0, {0, 1, 2}), (1, {0, 1}), (2, {0, 2}), (3, {3})):
        assert set(second[first == track]) == mates
        fraction = (second[first == track] != track).mean()
        assert abs(fraction - (0 if track == 3 else 0.5)) < 0.07
    both = second[(first == 0) & (second != 0)]
    assert abs((both == 1).mean() - 0.5) < 0.07


def test_none_and_all_partners_from_matches() -> None:
    sampler = PairSampler(TRACK, np.array([[0, 1]]))
    none, every = (
        epochs(partial(sampler.epoch, matched_fraction=fraction), 50) for fraction in (0.0, 1.0)
    )
    assert (TRACK[none[:, 0]] == TRACK[none[:, 1]]).all()
    assert (TRACK[every[TRACK[every[:, 0]] == 0][:, 1]] == 1).all()


def test_limit_of_crops_per_track() -> None:
    pairs = PairSampler(TRACK, NO_MATCHES).epoch(generator(), crops_per_track=2).numpy()
    assert np.bincount(TRACK[pairs[:, 0]]).tolist() == [2, 1, 2, 1]
    seen = epochs(partial(PairSampler(TRACK, NO_MATCHES).epoch, crops_per_track=2), 40)
    assert set(seen[:, 0]) == set(range(len(TRACK)))


def test_the_seed_decides() -> None:
    sampler = PairSampler(TRACK, np.array([[0, 2]]))
    assert torch.equal(sampler.epoch(generator()), sampler.epoch(generator()))
    assert not torch.equal(sampler.epoch(generator()), sampler.epoch(generator(1)))


def test_a_crop_paired_with_itself_gets_two_views() -> None:
    pairs = torch.tensor([[3, 3]] * 200 + [[0, 1]] * 200)
    views = draw_views(pairs, 4, generator())
    assert ((views >= 0) & (views < 4)).all()
    assert (views[:200, 0] != views[:200, 1]).all()
    assert (views[200:, 0] == views[200:, 1]).any()


def test_pairs_of_groups_are_all_pairs_of_small_groups() -> None:
    label = np.array([4, 0, 4, 1, 0, 4, 4, 2])
    pairs = {tuple(sorted(pair)) for pair in pairs_of_groups(label).tolist()}
    expected = {(i, j) for i in range(8) for j in range(i + 1, 8) if label[i] == label[j]}
    assert pairs == expected
    assert len(pairs_of_groups(label)) == len(expected)
    assert pairs_of_groups(np.zeros(0, np.int64)).shape == (0, 2)


def test_pairs_of_a_large_group_stay_linear() -> None:
    pairs = pairs_of_groups(np.zeros(500, np.int64))
    assert len(pairs) == 500 * EACH_WAY
    assert (np.bincount(pairs.ravel()) == 2 * EACH_WAY).all()
    assert len({tuple(sorted(pair)) for pair in pairs.tolist()}) == len(pairs)


def test_agreement_counts_all_pairs_of_large_groups() -> None:
    whole, rest = np.zeros(100, np.int64), np.array([0] * 50 + [1] * 50)
    left, right = (Matches(pairs_of_groups(label), label) for label in (whole, rest))
    assert left.agreement(right) == pytest.approx(2 * 50 * 49 / (100 * 99))
    listed = left._replace(groups=None).agreement(right._replace(groups=None))
    assert abs(listed - left.agreement(right)) > 0.1  # what is listed is a part of the pairs


def together(label: I64) -> set[tuple[int, int]]:
    """Every pair of rows with one label, written out."""
    rows = itertools.combinations(range(len(label)), 2)
    return {(i, j) for i, j in rows if label[i] == label[j]}


def jaccard(left: set[tuple[int, int]], right: set[tuple[int, int]]) -> float:
    return len(left & right) / len(left | right) if left | right else 1.0


@pytest.mark.parametrize("seed", range(8))
def test_agreement_equals_the_listed_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = rng.integers(0, rng.integers(1, 9), (2, rng.integers(1, 30)))
    want = jaccard(together(left), together(right))
    assert partition_agreement(left, right) == pytest.approx(want)
    assert partition_agreement(right, left) == pytest.approx(want)
    pairs = [np.array(sorted(together(x)), np.int64).reshape(-1, 2) for x in (left, right)]
    assert pair_agreement(pairs[0], pairs[1][::-1, ::-1]) == pytest.approx(want)


def test_names_of_groups_do_not_matter() -> None:
    left = np.array([5, 5, 2, 2, 9])
    assert partition_agreement(left, np.array([0, 0, 1, 1, 2])) == 1
    assert partition_agreement(left, np.array([0, 0, 0, 0, 0])) == pytest.approx(2 / 10)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_nothing_together_on_either_side_is_no_difference(count: int) -> None:
    alone = np.arange(count)
    assert partition_agreement(alone, alone[::-1]) == 1
    none = np.zeros((0, 2), np.int64)
    assert pair_agreement(none, none) == 1
    assert pair_agreement(none, np.array([[0, 1]])) == 0


def test_a_million_tracks_of_one_person_do_not_overflow() -> None:
    one, half = np.zeros(1_000_000, np.int64), np.arange(1_000_000) // 500_000
    assert partition_agreement(one, half) == pytest.approx(0.5, abs=1e-5)


def test_other_lengths_are_refused() -> None:
    with pytest.raises(ShapeError, match="one shape"):
        partition_agreement(np.zeros(3, np.int64), np.zeros(4, np.int64))


def test_only_trained_crops_come_first() -> None:
    trained = np.isin(TRACK, (0, 3))
    sampler = PairSampler(TRACK, np.array([[0, 3]]), trained)
    pairs = epochs(sampler.epoch, 50)
    assert set(pairs[:, 0].tolist()) == set(np.flatnonzero(trained).tolist())
    assert trained[pairs].all()
    assert len(pairs) == 50 * trained.sum()
    few = PairSampler(TRACK, NO_MATCHES, trained).epoch(generator(), crops_per_track=2)
    assert np.bincount(TRACK[few[:, 0]]).tolist() == [2, 0, 0, 1]
    none = PairSampler(TRACK, NO_MATCHES, np.zeros(len(TRACK), bool)).epoch(generator())
    assert none.shape == (0, 2)


def test_all_apart_is_said_only_where_no_two_tracks_are_one() -> None:
    assert Matches(NO_MATCHES, np.array([0, 3, 1])).all_apart()
    assert not Matches(NO_MATCHES, np.array([0, 0, 0])).all_apart()  # one person has no pairs
    assert Matches(NO_MATCHES, None).all_apart()
    assert not Matches(np.array([[0, 1]]), None).all_apart()
