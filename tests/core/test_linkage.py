import tracemalloc
from dataclasses import astuple

import numpy as np
import pytest

from tests import reference
from tests.helpers.core_data import made_title, no_pairs
from vcn_ray.core import linkage, vectors
from vcn_ray.core.distance import Space, cosine_space
from vcn_ray.core.linkage import agglomerate, parts_within
from vcn_ray.errors import ShapeError


def table(space):
    return space.offset - space.rows @ space.rows.T


def random_space(k, seed):
    return cosine_space(np.random.default_rng(seed).normal(size=(k, 5)))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("cut", [0.3, 0.8, 3.0])
def test_rounds_give_the_tree_of_one_merge_at_a_time(seed, cut):
    space = random_space(24, seed)
    cannot = np.random.default_rng(seed).integers(0, 24, (8, 2))
    cannot = cannot[cannot[:, 0] != cannot[:, 1]]
    found = agglomerate(space, cut, cannot, "cut")
    want = reference.average_linkage(table(space), cut, cannot)
    assert np.array_equal(found.label, want)


@pytest.mark.parametrize("seed", range(6))
def test_a_title_in_parts_gives_the_tree_of_the_whole(seed, monkeypatch):
    monkeypatch.setattr(linkage, "PART_TRACKS", 4)
    rng = np.random.default_rng(seed)
    rows = np.eye(6)[rng.integers(0, 6, 40)] + rng.normal(0, 0.25, (40, 6))
    space = cosine_space(rows)
    cannot = rng.integers(0, 40, (8, 2))
    cannot = cannot[cannot[:, 0] != cannot[:, 1]]
    parts = parts_within(space, 0.2)
    assert len(parts) > 1
    assert all((np.diff(tracks) > 0).all() for tracks in parts)
    pieces = agglomerate(space, 0.2, cannot, "cut")
    monkeypatch.setattr(linkage, "PART_TRACKS", 100)
    whole = agglomerate(space, 0.2, cannot, "cut")
    assert np.array_equal(pieces.label, whole.label)
    assert list(map(astuple, pieces.merges)) == list(map(astuple, whole.merges))
    want = reference.average_linkage(table(space), 0.2, cannot)
    assert np.array_equal(pieces.label, want)


@pytest.mark.parametrize("seed", range(4))
def test_no_pair_below_the_cut_lies_between_parts(seed, monkeypatch):
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


def test_float32_rows_are_enough_and_stay_as_they_are():
    space = random_space(30, 4)
    narrow = space.rows.astype(np.float32)
    before = narrow.copy()
    found = agglomerate(Space(narrow, 1.0), 0.6, no_pairs(), "cut")
    assert np.array_equal(found.label, agglomerate(space, 0.6, no_pairs(), "cut").label)
    assert np.array_equal(narrow, before)


def test_no_table_of_all_pairs_is_held(monkeypatch):
    monkeypatch.setattr(vectors, "BLOCK_CELLS", 400_000)
    people = np.random.default_rng(0).integers(0, 20, 2000)
    space = cosine_space(np.eye(20)[people] + np.random.default_rng(1).normal(0, 0.1, (2000, 20)))
    tracemalloc.start()
    label = agglomerate(space, 0.5, no_pairs(), "cut").label
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(label, vectors.renumber(people))
    assert peak < 8 * 2000**2 / 4


@pytest.mark.parametrize("cells", [1, 4_000_000])
def test_blocks_do_not_change_the_result(cells, monkeypatch):
    monkeypatch.setattr(vectors, "BLOCK_CELLS", cells)
    space = random_space(30, 9)
    found = agglomerate(space, 0.6, no_pairs(), "cut")
    want = reference.average_linkage(table(space), 0.6, no_pairs())
    assert np.array_equal(found.label, want)


def people_space(seed):
    """Cosine distances of 16 tracks of four people."""
    return cosine_space(made_title(np.arange(16) % 4, crops=4, seed=seed).output)


@pytest.mark.parametrize("seed", range(4))
def test_every_merge_has_the_distance_and_the_sizes_of_its_sides_written_out(seed):
    space, cut = people_space(seed), 0.9
    found = agglomerate(space, cut, no_pairs(), "best")
    distances = table(space)
    sides = {track: [track] for track in range(16)}
    for merge in found.merges:
        left, right = sides[merge.left], sides.pop(merge.right)
        assert (merge.left_tracks, merge.right_tracks) == (len(left), len(right))
        assert (merge.left_threshold, merge.right_threshold) == (cut, cut)
        assert merge.distance == pytest.approx(distances[np.ix_(left, right)].mean(), abs=1e-10)
        assert merge.distance < cut
        left += right
    assert max(len(side) for side in sides.values()) > 2
    assert sorted(map(sorted, sides.values())) == [
        np.flatnonzero(found.label == cluster).tolist() for cluster in range(len(sides))
    ]


@pytest.mark.parametrize("seed", range(4))
def test_no_pair_below_the_cut_is_left_unmerged(seed):
    space, cut = people_space(seed), 0.9
    label = agglomerate(space, cut, no_pairs(), "best").label
    distances = table(space)
    sides = [np.flatnonzero(label == cluster) for cluster in range(label.max() + 1)]
    assert len(sides) > 1
    for a in range(len(sides)):
        for b in range(a):
            assert distances[np.ix_(sides[a], sides[b])].mean() >= cut


def test_the_order_of_tracks_does_not_matter():
    space = random_space(40, 2)
    cannot = np.array([[0, 1], [5, 9], [20, 31]])
    shuffled = np.random.default_rng(0).permutation(40)
    place = np.argsort(shuffled)
    moved = Space(space.rows[shuffled], space.offset)
    plain = agglomerate(space, 0.5, cannot, "cut").label
    other = agglomerate(moved, 0.5, place[cannot], "cut").label
    assert np.array_equal(plain, vectors.renumber(other[place]))


def test_equal_tracks_merge_by_lowest_row_and_leave_the_input_alone():
    space = cosine_space(np.ones((5, 3)))
    before = space.rows.copy()
    found = agglomerate(space, 0.1, no_pairs(), "cut")
    assert found.label.tolist() == [0] * 5
    assert (found.merges[0].left, found.merges[0].right) == (0, 1)
    assert len(found.merges) == 4
    assert np.array_equal(space.rows, before)


def test_cannot_link_holds_through_chains():
    space = cosine_space(np.ones((4, 3)))
    found = agglomerate(space, 0.1, np.array([[0, 3], [3, 1]]), "cut")
    assert found.label[3] not in found.label[:2]
    assert found.label.max() == 1


def test_a_distance_at_the_cut_is_not_below_it():
    space = cosine_space(np.eye(3))
    assert agglomerate(space, 1.0, no_pairs(), "cut").label.tolist() == [0, 1, 2]
    assert agglomerate(space, 1.01, no_pairs(), "cut").label.tolist() == [0, 0, 0]


@pytest.mark.parametrize("tracks", [0, 1])
def test_nothing_to_merge(tracks):
    found = agglomerate(cosine_space(np.ones((tracks, 3))), 1.0, no_pairs(), "cut")
    assert found.label.tolist() == [0] * tracks
    assert found.merges == ()


def test_pairs_of_other_tracks_are_refused():
    with pytest.raises(ShapeError, match="rows"):
        agglomerate(cosine_space(np.eye(3)), 1.0, np.array([[0, 3]]), "cut")
