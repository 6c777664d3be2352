from dataclasses import replace

import numpy as np
import pytest
from core_data import made_title, no_pairs
from scipy import stats

from vcn_ray.core import vectors
from vcn_ray.core.cut import (
    Moments,
    crossing,
    cut_title,
    pair_moments,
    stranger_cut,
    view_distance,
)
from vcn_ray.core.spaces import cosine_space

EXTREMES = {
    "one track": [0],
    "one person twice": [0, 0],
    "two people once": [0, 1],
    "one person in 3": [0] * 3,
    "one person in 20": [0] * 20,
    "two people": [0, 1] * 4,
    "one and a visitor": [0] * 9 + [1],
    "three people once": [0, 1, 2],
    "5 people in 5": list(range(5)) * 5,
    "8 people in 5": list(range(8)) * 5,
    "100 people once": list(range(100)),
    "30 people, few leads": [int(n) for n in np.sqrt(np.arange(900))][::7],
}


@pytest.mark.parametrize("offset", [0.0, 2.0], ids=["centred encoder", "offset encoder"])
@pytest.mark.parametrize("people", EXTREMES.values(), ids=EXTREMES.keys())
def test_few_and_many_people_are_counted_right(people, offset):
    outputs = made_title(people, noise=0.7 - 0.1 * offset, offset=offset)
    found = cut_title(outputs, no_pairs(), "cut").linked.label
    assert np.array_equal(found, vectors.renumber(np.array(people)))


def test_the_merges_are_those_of_the_partition():
    found = cut_title(made_title(list(range(5)) * 4), no_pairs(), "cut").linked
    assert len(found.merges) == 20 - 5
    assert all(merge.distance < 1 == merge.left_threshold for merge in found.merges)


def test_the_view_distance_prefers_tracks_with_several_crops():
    outputs = replace(
        made_title([0, 1, 2]), crops=np.array([1, 4, 5]), untuned_views=np.array([9.0, 0.2, 0.4])
    )
    assert view_distance(outputs) == pytest.approx(0.3)
    assert view_distance(replace(outputs, crops=np.ones(3, np.int64))) == pytest.approx(3.2)


def test_views_without_any_distance_leave_different_tracks_apart():
    outputs = replace(made_title([0, 1, 1]), untuned_views=np.zeros(3))
    assert cut_title(outputs, no_pairs(), "cut").linked.label.tolist() == [0, 1, 2]


@pytest.mark.parametrize("cells", [1, 4_000_000])
def test_moments_equal_those_of_all_pairs(cells, monkeypatch):
    monkeypatch.setattr(vectors, "BLOCK_CELLS", cells)
    rng = np.random.default_rng(0)
    space, label = cosine_space(rng.normal(size=(9, 4))), rng.integers(0, 3, 9)
    same, different = [], []
    for i in range(9):
        for k in range(i + 1, 9):
            distance = 1 - space.left[i] @ space.left[k]
            (same if label[i] == label[k] else different).append(distance)
    for found, want in zip(pair_moments(space, label), (same, different), strict=True):
        assert found.pairs == len(want)
        assert found.mean == pytest.approx(np.mean(want))
        assert found.sd == pytest.approx(np.std(want))


def test_the_crossing_of_equal_distributions_is_half_way():
    assert crossing(Moments(0, 0.1, 50), Moments(1, 0.1, 50)) == pytest.approx(0.5, abs=2e-3)


def test_the_crossing_moves_away_from_what_is_frequent():
    usual = crossing(Moments(0, 0.2, 10), Moments(1, 0.2, 10))
    rare = crossing(Moments(0, 0.2, 1), Moments(1, 0.2, 1000))
    assert rare < usual
    # pi N(mu1, sd) = (1 - pi) N(mu0, sd) solved by hand: 1/2 - sd^2 log 1000
    assert rare == pytest.approx(0.5 - 0.04 * np.log(1000), abs=2e-3)


def test_no_crossing_where_the_near_are_not_nearer():
    assert crossing(Moments(1, 0.1, 5), Moments(1, 0.1, 5)) == -np.inf


def pairs_of(space):
    first, second = np.triu_indices(len(space.left), 1)
    return 1 - np.einsum("kf,kf->k", space.left[first], space.right[second])


def expected_under(cut, distances):
    """How many of these distances a normal distribution of their moments has under the cut."""
    return len(distances) * stats.norm(distances.mean(), distances.std()).cdf(cut)


def test_the_cut_lies_between_people_and_strangers():
    people = np.repeat(np.arange(30), 3)
    rows = np.eye(30)[people] + np.random.default_rng(0).normal(0, 0.02, (90, 30))
    space = cosine_space(rows)
    distances, same = pairs_of(space), np.equal.outer(people, people)[np.triu_indices(90, 1)]
    cut = stranger_cut(space, people)
    assert distances[same].max() < cut
    assert (distances[~same] < cut).mean() < 0.01


def test_strangers_alone_are_left_apart_however_many_they_are():
    space = cosine_space(np.random.default_rng(0).normal(size=(150, 40)))
    distances = pairs_of(space)
    usual = distances.mean() - 2.5 * distances.std()
    assert (distances < usual).sum() > 50
    assert (distances < stranger_cut(space, np.arange(150))).sum() <= 3


def test_people_among_strangers_raise_the_cut_as_far_as_it_can_be_believed():
    rng = np.random.default_rng(0)
    people = np.r_[np.arange(150), np.arange(12)]
    rows = rng.normal(size=(150, 40))[people] + rng.normal(0, 0.3, (162, 40))
    space = cosine_space(rows)
    cut, distances = stranger_cut(space, people), pairs_of(space)
    same = np.equal.outer(people, people)[np.triu_indices(162, 1)]
    assert (distances[same] < cut).all()
    strangers = distances[~same]
    assert expected_under(cut, strangers) <= 0.2 * (distances < cut).sum()
    assert cut < strangers.mean() - 2.5 * strangers.std()


def test_equal_tracks_taken_for_two_people_are_under_the_cut():
    space = cosine_space(np.eye(12)[np.r_[:12, 0, 1]])
    assert 0 < stranger_cut(space, np.arange(14)) <= 1
