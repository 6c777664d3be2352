import numpy as np
import pytest
import reference
from core_data import made_title, no_pairs

from vcn_ray.core import vectors
from vcn_ray.core.linkage import Space, agglomerate
from vcn_ray.core.spaces import cosine_space, loss_crops, loss_space, mixed_space
from vcn_ray.errors import ShapeError


def table(space):
    return space.offset - space.left @ space.right.T


def random_space(k, seed):
    return cosine_space(np.random.default_rng(seed).normal(size=(k, 5)))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("limit", [0.3, 0.8, 3.0])
def test_rounds_give_the_tree_of_one_merge_at_a_time(seed, limit):
    space = random_space(24, seed)
    cannot = np.random.default_rng(seed).integers(0, 24, (8, 2))
    cannot = cannot[cannot[:, 0] != cannot[:, 1]]
    found = agglomerate(space, np.full(24, limit), cannot, "cut")
    want = reference.link_best_first(table(space), np.full(24, limit), cannot)
    assert np.array_equal(found.label, want)


@pytest.mark.parametrize("cells", [1, 4_000_000])
def test_blocks_do_not_change_the_result(cells, monkeypatch):
    monkeypatch.setattr(vectors, "BLOCK_CELLS", cells)
    space = random_space(30, 9)
    found = agglomerate(space, np.full(30, 0.6), no_pairs(), "cut")
    want = reference.link_best_first(table(space), np.full(30, 0.6), no_pairs())
    assert np.array_equal(found.label, want)


@pytest.mark.parametrize("seed", range(4))
def test_every_merge_has_the_distance_and_limits_of_its_sides_written_out(seed):
    outputs = made_title(np.arange(16) % 4, crops=4, seed=seed, noise=0.1, wobble=6)
    space, limits = loss_space(outputs), outputs.within_views
    found = agglomerate(space, limits, no_pairs(), "best", loss_crops(outputs))
    losses = table(space)
    sides = {track: [track] for track in range(16)}
    for merge in found.merges:
        left, right = sides[merge.left], sides.pop(merge.right)
        assert (merge.left_tracks, merge.right_tracks) == (len(left), len(right))
        want = [reference.limit_of(side, limits, losses, outputs.crops) for side in (left, right)]
        assert [merge.left_threshold, merge.right_threshold] == pytest.approx(want, abs=1e-10)
        assert merge.distance == pytest.approx(losses[np.ix_(left, right)].mean(), abs=1e-10)
        assert merge.distance < max(want)
        left += right
    assert max(len(side) for side in sides.values()) > 2
    assert sorted(map(sorted, sides.values())) == [
        np.flatnonzero(found.label == cluster).tolist() for cluster in range(len(sides))
    ]


@pytest.mark.parametrize("seed", range(4))
def test_nothing_allowed_is_left_unmerged(seed):
    outputs = made_title(np.arange(16) % 4, crops=4, seed=seed, noise=0.1, wobble=6)
    space, limits = loss_space(outputs), outputs.within_views
    label = agglomerate(space, limits, no_pairs(), "best", loss_crops(outputs)).label
    losses = table(space)
    sides = [np.flatnonzero(label == cluster) for cluster in range(label.max() + 1)]
    for a in range(len(sides)):
        for b in range(a):
            pair = sides[a], sides[b]
            limit = max(reference.limit_of(s, limits, losses, outputs.crops) for s in pair)
            assert losses[np.ix_(*pair)].mean() >= limit


def test_the_order_of_tracks_does_not_matter():
    space = random_space(40, 2)
    cannot = np.array([[0, 1], [5, 9], [20, 31]])
    shuffled = np.random.default_rng(0).permutation(40)
    place = np.argsort(shuffled)
    moved = Space(space.left[shuffled], space.right[shuffled], space.offset)
    plain = agglomerate(space, np.full(40, 0.5), cannot, "cut").label
    other = agglomerate(moved, np.full(40, 0.5), place[cannot], "cut").label
    assert np.array_equal(plain, vectors.renumber(other[place]))


def test_equal_tracks_merge_by_lowest_row_and_leave_the_input_alone():
    space = cosine_space(np.ones((5, 3)))
    before = space.left.copy()
    found = agglomerate(space, np.full(5, 0.1), no_pairs(), "cut")
    assert found.label.tolist() == [0] * 5
    assert (found.merges[0].left, found.merges[0].right) == (0, 1)
    assert len(found.merges) == 4
    assert np.array_equal(space.left, before)


def test_cannot_link_holds_through_chains():
    space = cosine_space(np.ones((4, 3)))
    found = agglomerate(space, np.full(4, 0.1), np.array([[0, 3], [3, 1]]), "cut")
    assert found.label[3] not in found.label[:2]
    assert found.label.max() == 1


def test_a_distance_at_the_limit_is_not_under_it():
    space = cosine_space(np.eye(3))
    assert agglomerate(space, np.full(3, 1.0), no_pairs(), "cut").label.tolist() == [0, 1, 2]
    assert agglomerate(space, np.full(3, 1.01), no_pairs(), "cut").label.tolist() == [0, 0, 0]


def test_either_limit_is_enough():
    space = cosine_space(np.array([[1.0, 0], [0.8, 0.6]]))
    found = agglomerate(space, np.array([0.0, 0.5]), no_pairs(), "cut")
    assert found.label.tolist() == [0, 0]
    assert (found.merges[0].left_threshold, found.merges[0].right_threshold) == (0, 0.5)


@pytest.mark.parametrize("tracks", [0, 1])
def test_nothing_to_merge(tracks):
    found = agglomerate(cosine_space(np.ones((tracks, 3))), np.ones(tracks), no_pairs(), "cut")
    assert found.label.tolist() == [0] * tracks
    assert found.merges == ()


def test_a_mixed_space_is_the_weighted_sum():
    first, second = random_space(6, 0), random_space(6, 1)
    mixed = mixed_space(first, second, (2.0, 0.5))
    assert np.allclose(table(mixed), 2 * table(first) + 0.5 * table(second))


def test_arrays_that_do_not_belong_together_are_refused():
    with pytest.raises(ShapeError, match="limits"):
        agglomerate(cosine_space(np.eye(3)), np.ones(2), no_pairs(), "cut")
    with pytest.raises(ShapeError, match="rows"):
        agglomerate(cosine_space(np.eye(3)), np.ones(3), np.array([[0, 3]]), "cut")
