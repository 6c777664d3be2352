import itertools

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from vcn_ray.core import vectors
from vcn_ray.core.evidence import (
    FusionConfig,
    chance_limit,
    crossing,
    fuse,
    pair_distances,
    same_pairs,
)
from vcn_ray.core.spaces import cosine_space
from vcn_ray.errors import ConfigError

EVEN = FusionConfig(ridge=1e-9, odds=1.0, false_share=1.0)


def random_spaces(tracks, seed=0):
    rng = np.random.default_rng(seed)
    return [cosine_space(rng.normal(size=(tracks, width))) for width in (4, 7)]


def learned(near, far, config):
    rows = np.concatenate([near, far])
    return fuse(rows, np.arange(len(rows)) < len(near), config)


def kinds(seed=0, same=400, different=4000):
    """Distances of two kinds of pairs in two spaces, the second of which says more."""
    rng = np.random.default_rng(seed)
    near = rng.multivariate_normal([0.5, 0.3], [[0.02, 0.005], [0.005, 0.01]], same)
    far = rng.multivariate_normal([0.9, 1.0], [[0.02, 0.005], [0.005, 0.02]], different)
    return near, far


@pytest.mark.parametrize("cells", [1, 4_000_000])
def test_distances_are_those_of_every_pair_written_out(cells, monkeypatch):
    monkeypatch.setattr(vectors, "BLOCK_CELLS", cells)
    spaces, label = random_spaces(14), np.arange(14) % 4
    tables = [space.offset - space.left @ space.right.T for space in spaces]
    pairs = list(itertools.combinations(range(14), 2))
    want = [[table[i, k] for table in tables] for i, k in pairs]
    assert np.allclose(pair_distances(spaces), want)
    assert same_pairs(label).tolist() == [label[i] == label[k] for i, k in pairs]


def test_the_direction_is_fishers():
    near, far = kinds(same=3000, different=3000)
    fusion = learned(near, far, EVEN)
    rows = np.concatenate([near, far])
    lda = LinearDiscriminantAnalysis().fit(rows, np.repeat([0, 1], 3000))
    assert fusion.weights / fusion.weights.sum() == pytest.approx(
        lda.coef_[0] / lda.coef_[0].sum(), abs=1e-6
    )
    assert (far.mean(axis=0) - near.mean(axis=0)) @ fusion.weights == pytest.approx(1)


def test_the_cut_is_where_both_densities_are_as_high():
    near, far = kinds()
    fusion = learned(near, far, FusionConfig(odds=2.0, false_share=1.0))

    def density(rows, weight):
        x = rows @ fusion.weights
        z = (fusion.cut - x.mean()) / x.std()
        return weight * len(x) / x.std() * np.exp(-(z**2) / 2)

    assert density(near, 2.0) == pytest.approx(density(far, 1.0), rel=0.02)
    assert (near @ fusion.weights).mean() < fusion.cut < (far @ fusion.weights).mean()


def test_two_distances_tell_more_than_one():
    near, far = kinds()
    both = learned(near, far, EVEN)

    def wrong(weights, cut):
        return (near @ weights >= cut).mean() + (far @ weights < cut).mean()

    for alone in np.eye(2):
        cut = crossing(near @ alone, far @ alone, 1.0)
        assert wrong(both.weights, both.cut) < wrong(alone, cut)


def test_a_distance_that_tells_nothing_gets_no_weight():
    near, far = kinds()
    backwards = np.random.default_rng(1).normal(0, 0.1, len(near) + len(far))
    near = np.column_stack([near, backwards[: len(near)] + 0.1])
    far = np.column_stack([far, backwards[len(near) :]])
    fusion = learned(near, far, FusionConfig())
    assert fusion.weights[2] == 0
    assert (fusion.weights[:2] > 0).all()


def test_equal_distances_share_the_weight():
    near, far = (np.column_stack([rows, rows[:, 1]]) for rows in kinds())
    weights = learned(near, far, FusionConfig()).weights
    assert weights[1] == pytest.approx(weights[2])


def test_nothing_to_learn_from():
    near, far = kinds()
    assert learned(near[:0], far, FusionConfig()) is None
    assert learned(near, far[:0], FusionConfig()) is None
    assert learned(far, near, FusionConfig()) is None  # strangers nearer than a person to itself


def test_one_pair_of_a_kind_is_enough():
    near, far = kinds()
    fusion = learned(near[:1], far, EVEN)
    assert near[0] @ fusion.weights <= fusion.cut < (far @ fusion.weights).mean()


def test_one_pair_has_no_covariance():
    distances = np.array([[0.3, 0.3, 0.2], [0.7, 0.6, 1.1], [0.8, 0.75, 0.9]])
    found = fuse(distances, np.array([True, False, False]), FusionConfig())
    scatter = np.cov(distances[1:].T, ddof=0) / 2
    scatter += 0.1 * np.diag(np.diag(scatter))
    want = np.maximum(np.linalg.solve(scatter, distances[1:].mean(axis=0) - distances[0]), 0)
    assert np.allclose(found.weights / found.weights.sum(), want / want.sum())


def test_the_crossing_stays_between_the_means():
    wide, narrow = np.linspace(-3, 5, 10_000), np.full(10, 0.9)
    assert crossing(narrow, wide, 1.0) == pytest.approx(0.9, abs=0.01)
    assert crossing(wide, np.full(1, 2.0), 1.0) <= 2


def test_where_nobody_is_seen_twice_the_nearest_strangers_stay_apart():
    distances = np.sort(np.random.default_rng(0).normal(1, 0.1, (4950, 1)), axis=0)
    nearest, rest = distances[:9], distances[9:]
    fusion = learned(nearest, rest, FusionConfig())
    near, far = nearest @ fusion.weights, rest @ fusion.weights
    assert crossing(near, far, 2.0) > fusion.cut
    assert (near < fusion.cut).sum() <= 1


def test_the_chance_limit_is_a_share_of_a_normal_tail():
    rng = np.random.default_rng(0)
    far = rng.normal(2, 0.5, 200_000)
    limit = chance_limit(np.ones(20_000), far, 0.1)
    assert (far < limit).sum() == pytest.approx(0.1 * 20_000, rel=0.05)
    assert chance_limit(far, np.ones(10), 0.5) == np.inf


def test_one_person_in_two_clusters_does_not_move_the_chance_limit():
    rng = np.random.default_rng(0)
    far, missed = rng.normal(2, 0.1, 1000), rng.normal(0.2, 0.1, 150)
    alone = chance_limit(np.ones(100), far, 0.05)
    assert chance_limit(np.ones(100), np.concatenate([far, missed]), 0.05) > alone - 0.1


def test_senseless_settings_are_refused():
    with pytest.raises(ConfigError, match="odds"):
        FusionConfig(odds=0)
    with pytest.raises(ConfigError, match="ridge"):
        FusionConfig(ridge=0)
