import numpy as np
import pytest
import torch

from vcn_ray.learn.matching import EACH_WAY, Matches, pairs_of_groups
from vcn_ray.learn.sampling import PairSampler, draw_views

TRACK = np.array([0, 2, 0, 1, 2, 2, 0, 3, 2, 0])  # crops of tracks 0..3: 4, 1, 4, 1
NO_MATCHES = np.zeros((0, 2), np.int64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def epochs(sampler: PairSampler, count: int = 200, **settings: object) -> np.ndarray:
    source = generator()
    return np.concatenate([sampler.epoch(source, **settings).numpy() for _ in range(count)])


def test_every_crop_once_with_another_of_its_track():
    pairs = PairSampler(TRACK, NO_MATCHES).epoch(generator()).numpy()
    assert sorted(pairs[:, 0]) == list(range(len(TRACK)))
    assert (TRACK[pairs[:, 0]] == TRACK[pairs[:, 1]]).all()
    alone = np.isin(TRACK[pairs[:, 0]], (1, 3))
    assert ((pairs[:, 0] == pairs[:, 1]) == alone).all()


def test_all_partners_are_about_equally_likely():
    pairs = epochs(PairSampler(TRACK, NO_MATCHES), 600)
    partners = pairs[pairs[:, 0] == 0, 1]
    counts = np.bincount(partners, minlength=len(TRACK))[[2, 6, 9]]
    assert counts.sum() == 600
    assert counts.min() > 150


def test_half_of_the_partners_come_from_matched_tracks():
    pairs = epochs(PairSampler(TRACK, np.array([[0, 1], [2, 0]])), 300)
    first, second = TRACK[pairs[:, 0]], TRACK[pairs[:, 1]]
    for track, mates in ((0, {0, 1, 2}), (1, {0, 1}), (2, {0, 2}), (3, {3})):
        assert set(second[first == track]) == mates
        share = (second[first == track] != track).mean()
        assert abs(share - (0 if track == 3 else 0.5)) < 0.07
    both = second[(first == 0) & (second != 0)]
    assert abs((both == 1).mean() - 0.5) < 0.07


def test_no_share_and_the_whole_share_of_matches():
    sampler = PairSampler(TRACK, np.array([[0, 1]]))
    none, every = epochs(sampler, 50, matched_share=0.0), epochs(sampler, 50, matched_share=1.0)
    assert (TRACK[none[:, 0]] == TRACK[none[:, 1]]).all()
    assert (TRACK[every[TRACK[every[:, 0]] == 0][:, 1]] == 1).all()


def test_limit_of_crops_per_track():
    pairs = PairSampler(TRACK, NO_MATCHES).epoch(generator(), crops_per_track=2).numpy()
    assert np.bincount(TRACK[pairs[:, 0]]).tolist() == [2, 1, 2, 1]
    seen = epochs(PairSampler(TRACK, NO_MATCHES), 40, crops_per_track=2)
    assert set(seen[:, 0]) == set(range(len(TRACK)))


def test_the_seed_decides():
    sampler = PairSampler(TRACK, np.array([[0, 2]]))
    assert torch.equal(sampler.epoch(generator()), sampler.epoch(generator()))
    assert not torch.equal(sampler.epoch(generator()), sampler.epoch(generator(1)))


def test_a_crop_paired_with_itself_gets_two_views():
    pairs = torch.tensor([[3, 3]] * 200 + [[0, 1]] * 200)
    views = draw_views(pairs, 4, generator())
    assert ((views >= 0) & (views < 4)).all()
    assert (views[:200, 0] != views[:200, 1]).all()
    assert (views[200:, 0] == views[200:, 1]).any()


def test_pairs_of_groups_are_all_pairs_of_small_groups():
    label = np.array([4, 0, 4, 1, 0, 4, 4, 2])
    pairs = {tuple(sorted(pair)) for pair in pairs_of_groups(label).tolist()}
    expected = {(i, j) for i in range(8) for j in range(i + 1, 8) if label[i] == label[j]}
    assert pairs == expected
    assert len(pairs_of_groups(label)) == len(expected)
    assert pairs_of_groups(np.zeros(0, np.int64)).shape == (0, 2)


def test_pairs_of_a_large_group_stay_linear():
    pairs = pairs_of_groups(np.zeros(500, np.int64))
    assert len(pairs) == 500 * EACH_WAY
    assert (np.bincount(pairs.ravel()) == 2 * EACH_WAY).all()
    assert len({tuple(sorted(pair)) for pair in pairs.tolist()}) == len(pairs)


def test_agreement_counts_all_pairs_of_large_groups():
    whole, rest = np.zeros(100, np.int64), np.array([0] * 50 + [1] * 50)
    left, right = (Matches(pairs_of_groups(label), label) for label in (whole, rest))
    assert left.agreement(right) == pytest.approx(2 * 50 * 49 / (100 * 99))
    listed = left._replace(groups=None).agreement(right._replace(groups=None))
    assert abs(listed - left.agreement(right)) > 0.1  # what is listed is a part of the pairs
