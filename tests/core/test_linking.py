"""People of different titles are joined as faces say, and as constraints demand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from vcn_ray.core import linking
from vcn_ray.core.linking import Joined, Known, find_nearest, find_pairs, join_people
from vcn_ray.core.mixture import Mixture, count_scores, learn_mixture
from vcn_ray.core.strangers import Faces, Levels, exact_codes, stranger_levels, take
from vcn_ray.core.vectors import unit_rows
from vcn_ray.records import I64
from vcn_ray.registry.link import catalog_faces

DIM = 64


def made(titles: int, cast: int, seed: int = 0, noise: float = 0.5) -> tuple[Faces, I64]:
    """Titles that each show half of a cast, in a noise of their own; and who is who."""
    random = np.random.default_rng(seed)
    who = unit_rows(random.normal(size=(cast, DIM)))
    truth = np.concatenate([random.permutation(cast)[: cast // 2] for _ in range(titles)])
    rows = who[truth] + noise * unit_rows(random.normal(size=(len(truth), DIM)))
    title = np.repeat(np.arange(titles), cast // 2)
    return Faces(exact_codes(unit_rows(rows)), title), truth.astype(np.int64)


def solve(faces: Faces, known: Known | None = None) -> tuple[Joined, Mixture]:
    n = len(faces.title)
    rows = np.arange(n)
    levels = stranger_levels(faces, rows, (0.0, 0.12))
    mixture = learn_mixture(*count_scores(faces, levels, rows), pairs=n * (n - 1) / 2, people=n)
    pairs = find_pairs(faces, levels, mixture, slice(0, n))
    return join_people(faces, levels, mixture, pairs, known or Known.nothing(n)), mixture


def is_same(label: I64, other: I64) -> bool:
    return bool(((label[:, None] == label) == (other[:, None] == other)).all())


def test_people_are_found_again_in_other_titles() -> None:
    faces, truth = made(titles=12, cast=20)
    joined, mixture = solve(faces)
    assert is_same(joined.label, truth)
    assert mixture.same_mean > 4


def test_strangers_are_not_joined() -> None:
    faces, truth = made(titles=20, cast=200)
    alone = np.unique(truth, return_index=True)[1]
    joined, _ = solve(take(faces, alone))
    assert len(set(joined.label.tolist())) == len(alone)


def test_the_order_of_people_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    faces, _ = made(titles=10, cast=16, noise=0.9)
    joined, mixture = solve(faces)
    order = np.random.default_rng(3).permutation(len(faces.title))
    monkeypatch.setattr(linking, "BLOCK", 7)
    other, again = solve(take(faces, order))
    assert again == mixture
    assert is_same(other.label, joined.label[order])


def test_parts_of_the_rows_give_all_pairs() -> None:
    faces, _ = made(titles=6, cast=20)
    rows = np.arange(len(faces.title))
    levels = stranger_levels(faces, rows)
    mixture = learn_mixture(*count_scores(faces, levels, rows), pairs=1e4, people=60)
    whole = find_pairs(faces, levels, mixture, slice(0, len(rows)))
    parts = [find_pairs(faces, levels, mixture, slice(i, i + 20)) for i in range(0, len(rows), 20)]
    assert len(whole.left)
    for one, other in zip(whole, linking.Pairs.join(parts), strict=True):
        assert np.array_equal(np.sort(one), np.sort(other))


@pytest.mark.parametrize("fraction", [1e-2, 1e-6, 1e-9])
def test_a_good_score_joins_in_a_catalog_of_any_size(fraction: float) -> None:
    mixture = Mixture(0.0, 1.0, 9.0, 1.5, fraction)
    assert mixture.at(np.array(9.5)) > linking.JOINED
    evidence = np.full((2, 2), float(mixture.evidence(np.array(9.5))))
    none = np.full(2, -1, np.int64)
    label = linking.join_likeliest(evidence, np.eye(2, dtype=bool), none, mixture.prior_odds)
    assert label.tolist() == [0, 0]


class Alike:
    """Three titles that each show one face; and what is known of it."""

    faces = Faces(exact_codes(np.tile(np.eye(1, DIM), (3, 1))), np.arange(3))
    levels = Levels(np.zeros(3), np.full(3, 0.1))
    mixture = Mixture(0.0, 1.0, 7.0, 1.5, 1e-2)

    def label(self, known: Known, title: tuple[int, ...] = (0, 1, 2)) -> list[int]:
        faces = replace(self.faces, title=np.array(title))
        pairs = find_pairs(faces, self.levels, self.mixture, slice(0, 3))
        joined = join_people(faces, self.levels, self.mixture, pairs, known)
        return [int(label) for label in joined.label]


NOTHING = Known.nothing(3)


@pytest.mark.parametrize(
    ("known", "title", "label"),
    [
        (NOTHING, (0, 1, 2), [0, 0, 0]),
        (NOTHING, (0, 0, 0), [0, 1, 2]),
        (NOTHING._replace(name=np.array([0, 1, -1])), (0, 1, 0), [0, 1, 1]),
        (NOTHING._replace(cannot=np.array([[0, 1]])), (0, 1, 0), [0, 1, 1]),
        (NOTHING._replace(group=np.array([0, -1, 0])), (0, 1, 1), [0, 1, 0]),
    ],
)
def test_constraints_hold_whatever_faces_say(
    known: Known, title: tuple[int, ...], label: list[int]
) -> None:
    assert Alike().label(known, title) == label


def test_a_group_is_one_though_its_faces_differ() -> None:
    faces = Faces(exact_codes(np.eye(3, DIM)), np.arange(3))
    levels, mixture = Alike.levels, Alike.mixture
    known = NOTHING._replace(group=np.array([0, -1, 0]))
    pairs = find_pairs(faces, levels, mixture, slice(0, 3))
    joined = join_people(faces, levels, mixture, pairs, known)
    assert joined.label.tolist() == [0, 1, 0]


def test_every_look_of_a_group_counts() -> None:
    faces = Faces(exact_codes(np.eye(3, DIM)[[0, 1, 0]]), np.arange(3))
    known = NOTHING._replace(group=np.array([0, 0, -1]))
    pairs = find_pairs(faces, Alike.levels, Alike.mixture, slice(0, 3))
    joined = join_people(faces, Alike.levels, Alike.mixture, pairs, known)
    assert joined.label.tolist() == [0, 0, 0]


def test_what_a_member_of_a_group_is_not_no_member_is() -> None:
    known = NOTHING._replace(group=np.array([0, 0, -1]), cannot=np.array([[1, 2]]))
    assert Alike().label(known) == [0, 0, 1]


def test_somebody_without_a_face_is_joined_by_the_group_alone() -> None:
    faces = Faces(Alike.faces.codes.copy(), np.arange(3))
    faces.codes[2] = 0
    pairs = find_pairs(faces, Alike.levels, Alike.mixture, slice(0, 3))
    for group, label in ((-1, [0, 0, 1]), (0, [0, 0, 0])):
        known = NOTHING._replace(group=np.array([group, -1, group]))
        joined = join_people(faces, Alike.levels, Alike.mixture, pairs, known)
        assert joined.label.tolist() == label


def test_a_set_that_is_too_large_is_divided_where_it_is_weakest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faces, truth = made(titles=12, cast=20)
    monkeypatch.setattr(linking, "MAX_COMPONENT", 6)
    joined, _ = solve(faces)
    for label in set(joined.label.tolist()):
        assert len(set(truth[joined.label == label].tolist())) == 1


def test_somebody_in_more_titles_than_a_set_holds_is_few_people(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    who = unit_rows(np.random.default_rng(0).normal(size=(1 + 40, DIM)))
    rows = np.concatenate([np.repeat(who[:1], 40, axis=0), who[1:]])  # the same face everywhere
    faces = Faces(exact_codes(rows), np.tile(np.arange(40), 2))
    monkeypatch.setattr(linking, "MAX_COMPONENT", 15)
    label = solve(faces)[0].label
    assert np.bincount(label[:40]).tolist() == [15, 15, 10]
    group = np.concatenate([np.full(20, -1), np.zeros(20, np.int64), np.full(40, -1)])
    label = solve(faces, Known.nothing(80)._replace(group=group))[0].label
    assert sorted(np.bincount(label[:40]).tolist()) == [5, 15, 20]
    assert len(set(label[20:40].tolist())) == 1


def test_a_stranger_is_nobody_where_there_are_few_people() -> None:
    random = np.random.default_rng(0)
    rows = np.repeat(unit_rows(random.normal(size=(3, DIM))), 100, axis=0)
    rows += 0.7 * unit_rows(random.normal(size=(300, DIM)))
    faces = Faces(exact_codes(unit_rows(rows)), np.tile(np.arange(100), 3))
    levels = Levels(np.zeros(300), np.full(300, DIM**-0.5))
    mixture = Mixture(0.0, 1.0, 5.0, 1.0, 1e-3)
    strangers = exact_codes(random.normal(size=(200, DIM)))
    each_once = np.arange(3) * 100
    taken = [
        find_nearest(face, faces, levels, mixture, each_once, limit=1).log_odds[0] > 0
        for face in strangers
    ]
    assert sum(taken) <= 2
    own = find_nearest(faces.codes[150], faces, levels, mixture, each_once, limit=100)
    assert (own.row // 100 == 1).all()
    assert own.log_odds[50] > linking.JOINED


def test_a_face_without_an_embedding_counts_for_nobody() -> None:
    random = np.random.default_rng(0)
    codes = exact_codes(random.normal(size=(4, DIM)))
    codes[2] = 0
    table = pa.table(
        {
            "title_id": ["a", "a", "b", "b"],
            "encoder": ["e"] * 4,
            "codes": pa.array([row.tobytes() for row in codes], pa.binary()),
        }
    )
    assert catalog_faces(table, "e")[1].tolist() == [True, True, False, True]


def test_the_nearest_of_all_is_found() -> None:
    faces, truth = made(titles=4, cast=20, noise=0.3)
    rows = np.arange(len(truth))
    levels = stranger_levels(faces, rows)
    mixture = learn_mixture(*count_scores(faces, levels, rows), pairs=1e3, people=40)
    found = find_nearest(faces.codes[3], faces, levels, mixture, rows, limit=5)
    assert found.row[0] == 3
    assert found.cosine[0] == pytest.approx(1.0)
    assert (np.diff(found.log_odds) <= 0).all()
    assert truth[found.row[1]] == truth[3] or (truth == truth[3]).sum() == 1
