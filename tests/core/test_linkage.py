from __future__ import annotations

import tracemalloc
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest

from tests import reference
from tests.helpers.core_data import made_title
from vcn_ray.core import linkage, vectors
from vcn_ray.core.distance import Space, cosine_space
from vcn_ray.core.linkage import CannotLink, agglomerate, parts_within
from vcn_ray.errors import ShapeError
from vcn_ray.records import F64, I64


def table(space: Space) -> F64:
    """(k, k) distances."""
    distances: F64 = space.offset - space.rows @ space.rows.T
    return distances


def random_space(k: int, seed: int) -> Space:
    return cosine_space(np.random.default_rng(seed).normal(size=(k, 5)))


PENALTIES = {
    "none": (),
    "small": (0.02, 0.1),
    "one cut": (1.0,),
    "huge": (1e300, 2.0),
    "vetoes": (np.inf,),
    "all kinds": (0.05, 0.5, 2.0, np.inf),
}


def random_pairs(k: int, seed: int, penalties: tuple[float, ...], count: int = 12) -> CannotLink:
    """Some pairs of k tracks, with penalties of each kind; a pair may come twice, or be no pair."""
    if not penalties:
        return CannotLink.none()
    rng = np.random.default_rng(seed)
    return CannotLink(rng.integers(0, k, (count, 2)), rng.choice(penalties, count))


def all_pairs(k: int) -> I64:
    return np.stack(np.triu_indices(k, 1), axis=1)


def clusters_of(people: I64, seed: int) -> Space:
    """Tracks 0.1 from those of their person, and 1 from all others, in units of the cut 0.5."""
    rng = np.random.default_rng(seed)
    return cosine_space(np.eye(64)[people] + rng.normal(0, 0.03, (len(people), 64)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cut", [0.3, 0.8, 3.0])
@pytest.mark.parametrize("penalties", PENALTIES.values(), ids=PENALTIES.keys())
def test_rounds_give_the_tree_of_one_merge_at_a_time(
    seed: int, cut: float, penalties: tuple[float, ...]
) -> None:
    space, cannot = random_space(24, seed), random_pairs(24, seed, penalties)
    found = agglomerate(space, cut, cannot, "cut")
    want = reference.average_linkage(table(space), cut, cannot)
    assert np.array_equal(found.label, want)


@pytest.mark.parametrize("part_tracks", [1024, 4], ids=["one part", "parts"])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("penalties", PENALTIES.values(), ids=PENALTIES.keys())
def test_tracks_that_must_link_begin_as_one_cluster(
    seed: int, penalties: tuple[float, ...], part_tracks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linkage, "PART_TRACKS", part_tracks)
    space, cannot = random_space(24, seed), random_pairs(24, seed, penalties)
    must = np.random.default_rng(seed).integers(0, 24, (7, 2))
    found = agglomerate(space, 0.3, cannot, "cut", must)
    want = reference.average_linkage(
        table(space), 0.3, cannot, [(int(i), int(k)) for i, k in must if i != k]
    )
    assert np.array_equal(found.label, want)
    assert (found.label[must[:, 0]] == found.label[must[:, 1]]).all()
    assert len(found.merges) == 24 - len(np.unique(found.label))
    given = [merge for merge in found.merges if merge.round == 0]
    assert {merge.rule for merge in given} == {linkage.MUST_LINK}
    assert all(merge.left < merge.right for merge in given)


def test_nothing_that_must_link_changes_nothing() -> None:
    space, cannot = random_space(24, 1), random_pairs(24, 1, (0.1,))
    plain = agglomerate(space, 0.3, cannot, "cut")
    itself = np.array([[3, 3], [5, 5]])
    assert [astuple(m) for m in agglomerate(space, 0.3, cannot, "cut", itself).merges] == [
        astuple(m) for m in plain.merges
    ]


@pytest.mark.parametrize("seed", range(12))
def test_ties_give_the_tree_of_one_merge_at_a_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # distances and penalties are multiples of 1 / 4, so many means are equal
    space = Space(rng.integers(-1, 2, (20, 3)) / 2.0, 1.0)
    cannot = random_pairs(20, seed, (0.25, 0.5, np.inf), count=30)
    found = agglomerate(space, 1.0, cannot, "cut")
    want = reference.average_linkage(table(space), 1.0, cannot)
    assert np.array_equal(found.label, want)
    assert len({merge.distance for merge in found.merges}) < len(found.merges)


@pytest.mark.parametrize("penalty", [0.3, 0.7])
def test_where_all_pairs_have_a_penalty_it_moves_the_cut(penalty: float) -> None:
    space, cannot = random_space(24, 1), CannotLink.uniform(all_pairs(24), penalty)
    found = agglomerate(space, 1.0, cannot, "cut")
    assert np.array_equal(found.label, reference.average_linkage(table(space), 1.0, cannot))
    plain = agglomerate(space, 1.0 - penalty, CannotLink.none(), "cut")
    assert np.array_equal(found.label, plain.label)
    assert found.label.max() < 23


def test_where_all_pairs_have_a_veto_nothing_merges() -> None:
    cannot = CannotLink.uniform(all_pairs(9), np.inf)
    found = agglomerate(cosine_space(np.ones((9, 3))), 3.0, cannot, "cut")
    assert found.label.tolist() == list(range(9))


@pytest.mark.parametrize("seed", range(4))
def test_wrong_pairs_split_nobody_where_a_veto_does(seed: int) -> None:
    people = np.random.default_rng(seed).integers(0, 6, 90)
    space, cut, pairs = clusters_of(people, seed), 0.5, all_pairs(90)
    same = people[pairs[:, 0]] == people[pairs[:, 1]]
    wrong = np.random.default_rng(seed).random(len(pairs)) < 0.05
    given = pairs[np.where(same, wrong, ~wrong)]
    found = agglomerate(space, cut, CannotLink.uniform(given, cut), "cut")
    assert np.array_equal(found.label, vectors.renumber(people))
    split = agglomerate(space, cut, CannotLink.uniform(given, np.inf), "cut")
    assert split.label.max() > people.max() + 4


def test_a_person_seen_beside_itself_is_one_cluster() -> None:
    people = np.repeat([0, 1], [24, 8])
    space, cut = clusters_of(people, 0), 0.5
    beside = np.arange(24).reshape(-1, 2)  # each track of person 0 and its mirror
    found = agglomerate(space, cut, CannotLink.uniform(beside, cut), "cut")
    assert np.array_equal(found.label, people)
    assert agglomerate(space, cut, CannotLink.uniform(beside, np.inf), "cut").label.max() > 1


def test_lookalikes_often_seen_together_are_two_clusters() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat([0, 1], 10)
    rows = np.array([[1, 0.55], [0.55, 1]])[people] + rng.normal(0, 0.02, (20, 2))
    space, cut = cosine_space(rows), 0.2
    together = np.array([[i, 10 + (i + k) % 10] for i in range(10) for k in range(4)])
    assert agglomerate(space, cut, CannotLink.none(), "cut").label.max() == 0
    found = agglomerate(space, cut, CannotLink.uniform(together, cut), "cut")
    assert np.array_equal(found.label, people)


@pytest.mark.parametrize("seed", range(6))
def test_a_title_in_parts_gives_the_tree_of_the_whole(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linkage, "PART_TRACKS", 4)
    rng = np.random.default_rng(seed)
    rows = np.eye(6)[rng.integers(0, 6, 40)] + rng.normal(0, 0.25, (40, 6))
    space = cosine_space(rows)
    cannot = random_pairs(40, seed, (0.05, 0.2, np.inf))
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
def test_no_pair_below_the_cut_lies_between_parts(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_float32_rows_are_enough_and_stay_as_they_are() -> None:
    space = random_space(30, 4)
    narrow: Any = space.rows.astype(np.float32)  # any, because a space asks for float64
    before = narrow.copy()
    found = agglomerate(Space(narrow, 1.0), 0.6, CannotLink.none(), "cut")
    assert np.array_equal(found.label, agglomerate(space, 0.6, CannotLink.none(), "cut").label)
    assert np.array_equal(narrow, before)


def test_no_table_of_all_pairs_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "BLOCK_CELLS", 400_000)
    people = np.random.default_rng(0).integers(0, 20, 2000)
    space = cosine_space(np.eye(20)[people] + np.random.default_rng(1).normal(0, 0.1, (2000, 20)))
    tracemalloc.start()
    label = agglomerate(space, 0.5, CannotLink.none(), "cut").label
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(label, vectors.renumber(people))
    assert peak < 8 * 2000**2 / 4


@pytest.mark.parametrize("cells", [1, 4_000_000])
def test_blocks_do_not_change_the_result(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "BLOCK_CELLS", cells)
    space, cannot = random_space(30, 9), random_pairs(30, 9, (0.1, 0.6, np.inf))
    found = agglomerate(space, 0.6, cannot, "cut")
    want = reference.average_linkage(table(space), 0.6, cannot)
    assert np.array_equal(found.label, want)


def people_space(seed: int) -> Space:
    """Cosine distances of 16 tracks of four people."""
    return cosine_space(made_title(np.arange(16) % 4, crops=4, seed=seed).output)


@pytest.mark.parametrize("seed", range(4))
def test_every_merge_has_the_distance_and_the_sizes_of_its_sides_written_out(seed: int) -> None:
    space, cut = people_space(seed), 0.9
    cannot = CannotLink(np.array([[0, 4], [8, 4], [9, 1]]), np.array([0.1, 0.2, 0.4]))
    found = agglomerate(space, cut, cannot, "best")
    distances = table(space)
    for (i, k), penalty in zip(cannot.pairs, cannot.penalty, strict=True):
        distances[[i, k], [k, i]] += penalty
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
def test_no_pair_below_the_cut_is_left_unmerged(seed: int) -> None:
    space, cut = people_space(seed), 0.9
    label = agglomerate(space, cut, CannotLink.none(), "best").label
    distances = table(space)
    sides = [np.flatnonzero(label == cluster) for cluster in range(label.max() + 1)]
    assert len(sides) > 1
    for a in range(len(sides)):
        for b in range(a):
            assert distances[np.ix_(sides[a], sides[b])].mean() >= cut


def test_the_order_of_tracks_does_not_matter() -> None:
    space = random_space(40, 2)
    cannot = random_pairs(40, 2, (0.1, 0.5, np.inf))
    shuffled = np.random.default_rng(0).permutation(40)
    place = np.argsort(shuffled)
    moved = Space(space.rows[shuffled], space.offset)
    plain = agglomerate(space, 0.5, cannot, "cut").label
    turned = CannotLink(place[cannot.pairs[::-1, ::-1]], cannot.penalty[::-1])
    other = agglomerate(moved, 0.5, turned, "cut").label
    assert np.array_equal(plain, vectors.renumber(other[place]))


def test_equal_tracks_merge_by_lowest_row_and_leave_the_input_alone() -> None:
    space = cosine_space(np.ones((5, 3)))
    before = space.rows.copy()
    found = agglomerate(space, 0.1, CannotLink.none(), "cut")
    assert found.label.tolist() == [0] * 5
    assert (found.merges[0].left, found.merges[0].right) == (0, 1)
    assert len(found.merges) == 4
    assert np.array_equal(space.rows, before)


def test_a_veto_holds_through_chains() -> None:
    space = cosine_space(np.ones((4, 3)))
    cannot = CannotLink.uniform(np.array([[0, 3], [3, 1]]), np.inf)
    found = agglomerate(space, 0.1, cannot, "cut")
    assert found.label[3] not in found.label[:2]
    assert found.label.max() == 1


def test_a_distance_at_the_cut_is_not_below_it() -> None:
    space = cosine_space(np.eye(3))
    assert agglomerate(space, 1.0, CannotLink.none(), "cut").label.tolist() == [0, 1, 2]
    assert agglomerate(space, 1.01, CannotLink.none(), "cut").label.tolist() == [0, 0, 0]


@pytest.mark.parametrize("tracks", [0, 1])
def test_nothing_to_merge(tracks: int) -> None:
    found = agglomerate(cosine_space(np.ones((tracks, 3))), 1.0, CannotLink.none(), "cut")
    assert found.label.tolist() == [0] * tracks
    assert found.merges == ()


def test_pairs_of_other_tracks_are_refused() -> None:
    cannot = CannotLink.uniform(np.array([[0, 3]]), 1.0)
    with pytest.raises(ShapeError, match="rows"):
        agglomerate(cosine_space(np.eye(3)), 1.0, cannot, "cut")


@pytest.mark.parametrize("penalty", [[0.0], [-1.0], [np.nan], [], [1.0, 1.0]])
def test_pairs_without_a_penalty_over_0_are_refused(penalty: list[float]) -> None:
    cannot = CannotLink(np.array([[0, 1]]), np.array(penalty))
    with pytest.raises(ShapeError, match="penalties"):
        agglomerate(cosine_space(np.eye(3)), 1.0, cannot, "cut")
