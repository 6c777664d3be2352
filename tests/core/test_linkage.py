import tracemalloc
from dataclasses import astuple

import numpy as np
import pytest
import torch

from tests import reference
from tests.helpers.core_data import made_title, no_pairs
from vcn_ray.core import linkage, vectors
from vcn_ray.core.linkage import Space, agglomerate, parts_within
from vcn_ray.core.spaces import cosine_space, loss_space, mixed_space
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


@pytest.mark.parametrize("seed", range(6))
def test_a_title_in_parts_gives_the_tree_of_the_whole(seed, monkeypatch):
    monkeypatch.setattr(linkage, "PART_TRACKS", 4)
    rng = np.random.default_rng(seed)
    rows = np.eye(6)[rng.integers(0, 6, 40)] + rng.normal(0, 0.25, (40, 6))
    space, limits = cosine_space(rows), rng.choice([0.1, 0.2], 40)
    cannot = rng.integers(0, 40, (8, 2))
    cannot = cannot[cannot[:, 0] != cannot[:, 1]]
    parts = parts_within(space, 0.2)
    assert len(parts) > 1
    assert all((np.diff(tracks) > 0).all() for tracks in parts)
    pieces = agglomerate(space, limits, cannot, "cut")
    monkeypatch.setattr(linkage, "PART_TRACKS", 100)
    whole = agglomerate(space, limits, cannot, "cut")
    assert np.array_equal(pieces.label, whole.label)
    assert list(map(astuple, pieces.merges)) == list(map(astuple, whole.merges))
    one_limit = np.full(40, 0.2)
    monkeypatch.setattr(linkage, "PART_TRACKS", 4)
    found = agglomerate(space, one_limit, cannot, "cut")
    want = reference.link_best_first(table(space), one_limit, cannot)
    assert np.array_equal(found.label, want)


@pytest.mark.parametrize("seed", range(4))
def test_no_pair_under_the_limit_lies_between_parts(seed, monkeypatch):
    monkeypatch.setattr(linkage, "PART_TRACKS", 1)
    space = random_space(60, seed)
    near = table(space) < 0.05
    part = np.full(60, -1)
    for number, tracks in enumerate(parts_within(space, 0.05)):
        part[tracks] = number
    near[np.diag_indices(60)] = False
    assert near.any()
    assert all(part[i] == part[k] >= 0 for i, k in np.argwhere(near))
    assert (part == -1).any()


def in_torch(space, device="cpu"):
    left = torch.tensor(space.left, device=device)
    same = space.right is space.left
    return Space(left, left if same else torch.tensor(space.right, device=device), space.offset)


@pytest.mark.parametrize("part_tracks", [8, 1024])
@pytest.mark.parametrize("seed", range(2))
def test_tensors_give_the_labels_and_merges_of_numpy(seed, part_tracks, monkeypatch):
    monkeypatch.setattr(linkage, "PART_TRACKS", part_tracks)
    rng = np.random.default_rng(seed)
    outputs = made_title(np.arange(80) % 7, crops=4, seed=seed, noise=0.1, wobble=6)
    cannot, rows = np.array([[0, 7], [3, 4], [3, 10]]), rng.normal(size=(80, 5))
    mixed = mixed_space(cosine_space(rows), cosine_space(outputs.output), (0.3, 0.7))
    for space, limits in (
        (mixed, np.full(80, 0.5)),
        (mixed, rng.uniform(0.2, 0.6, 80)),
        (loss_space(outputs), outputs.within_views),
    ):
        plain = agglomerate(space, limits, cannot, "cut")
        tensors = agglomerate(in_torch(space), limits, cannot, "cut")
        assert len(plain.merges) > 20
        assert np.array_equal(plain.label, tensors.label)
        for merge, other in zip(plain.merges, tensors.merges, strict=True):
            # all but the two limits, which are sums that another library adds up in another order
            assert astuple(merge)[:-2] == astuple(other)[:-2]
            assert astuple(merge)[-2:] == pytest.approx(astuple(other)[-2:], abs=1e-12)


@pytest.mark.gpu
def test_a_gpu_gives_the_labels_of_numpy():
    people = np.random.default_rng(0).integers(0, 50, 3000)
    space = cosine_space(np.eye(50)[people] + np.random.default_rng(1).normal(0, 0.1, (3000, 50)))
    limits, cannot = np.full(3000, 0.5), np.array([[0, 1], [5, 9]])
    plain = agglomerate(space, limits, cannot, "cut")
    there = agglomerate(in_torch(space, "cuda"), limits, cannot, "cut")
    assert np.array_equal(plain.label, there.label)
    assert list(map(astuple, plain.merges)) == list(map(astuple, there.merges))


def test_float32_rows_are_enough_and_stay_as_they_are():
    space = random_space(30, 4)
    narrow = space.left.astype(np.float32)
    before = narrow.copy()
    found = agglomerate(Space(narrow, narrow, 1.0), np.full(30, 0.6), no_pairs(), "cut")
    assert np.array_equal(
        found.label, agglomerate(space, np.full(30, 0.6), no_pairs(), "cut").label
    )
    assert np.array_equal(narrow, before)


def test_no_table_of_all_pairs_is_held(monkeypatch):
    monkeypatch.setattr(vectors, "BLOCK_CELLS", 400_000)
    people = np.random.default_rng(0).integers(0, 20, 2000)
    space = cosine_space(np.eye(20)[people] + np.random.default_rng(1).normal(0, 0.1, (2000, 20)))
    tracemalloc.start()
    label = agglomerate(space, np.full(2000, 0.5), no_pairs(), "cut").label
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(label, vectors.renumber(people))
    assert peak < 8 * 2000**2 / 4


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
    found = agglomerate(space, limits, no_pairs(), "best")
    losses = table(space)
    sides = {track: [track] for track in range(16)}
    for merge in found.merges:
        left, right = sides[merge.left], sides.pop(merge.right)
        assert (merge.left_tracks, merge.right_tracks) == (len(left), len(right))
        want = [limits[side].max() for side in (left, right)]
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
    label = agglomerate(space, limits, no_pairs(), "best").label
    losses = table(space)
    sides = [np.flatnonzero(label == cluster) for cluster in range(label.max() + 1)]
    for a in range(len(sides)):
        for b in range(a):
            pair = sides[a], sides[b]
            limit = max(limits[side].max() for side in pair)
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


def test_arrays_that_do_not_belong_together_are_refused():
    with pytest.raises(ShapeError, match="limits"):
        agglomerate(cosine_space(np.eye(3)), np.ones(2), no_pairs(), "cut")
    with pytest.raises(ShapeError, match="rows"):
        agglomerate(cosine_space(np.eye(3)), np.ones(3), np.array([[0, 3]]), "cut")
