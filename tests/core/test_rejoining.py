"""Sets that are too large to compare each with each are joined as small ones are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from vcn_ray.core import linking
from vcn_ray.core.linking import Joined, Known, Pairs, find_pairs, join_people
from vcn_ray.core.mixture import Mixture, count_scores, learn_mixture
from vcn_ray.core.rejoining import rejoin_people
from vcn_ray.core.strangers import Faces, Levels, exact_codes
from vcn_ray.core.vectors import unit_rows
from vcn_ray.records import I64

DIM = 128
LARGEST = 20
TITLES, STRANGERS = 70, 40


class Catalog(NamedTuple):
    """A presenter in 70 titles, and a stranger in each of the first 40."""

    faces: Faces
    truth: I64
    levels: Levels
    mixture: Mixture
    pairs: Pairs

    def solve(self, known: Known | None = None, again: bool = True) -> Joined:
        known = known or Known.nothing(len(self.truth))
        rest = (self.faces, self.levels, self.mixture, self.pairs, known)
        joined = join_people(*rest)
        return rejoin_people(joined, *rest, largest=LARGEST) if again else joined


def catalog(noise: float) -> Catalog:
    random = np.random.default_rng(0)
    who = unit_rows(random.normal(size=(1 + STRANGERS, DIM)))
    truth = np.concatenate([np.zeros(TITLES, np.int64), np.arange(1, STRANGERS + 1)])
    title = np.concatenate([np.arange(TITLES), np.arange(STRANGERS)])
    order = np.lexsort((truth, title))
    rows = who[truth] + noise * unit_rows(random.normal(size=(len(truth), DIM)))
    faces = Faces(exact_codes(unit_rows(rows[order])), title[order])
    every = np.arange(len(truth))
    levels = Levels(np.zeros(len(truth)), np.full(len(truth), DIM**-0.5))
    mixture = learn_mixture(*count_scores(faces, levels, every), pairs=5e3, people=len(truth))
    pairs = find_pairs(faces, levels, mixture, slice(0, len(truth)))
    return Catalog(faces, truth[order], levels, mixture, pairs)


@pytest.fixture(params=[0.3, 0.9], ids=["alike", "varied"])
def made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    found = catalog(request.param)
    monkeypatch.setattr(linking, "MAX_COMPONENT", LARGEST)
    return found


def pieces_of(made: Catalog, joined: Joined) -> int:
    return len(set(joined.label[made.truth == 0].tolist()))


def test_somebody_in_many_titles_is_one_person(made: Catalog) -> None:
    assert pieces_of(made, made.solve(again=False)) > 3
    joined = made.solve()
    assert pieces_of(made, joined) == 1
    assert joined.label.max() == STRANGERS  # nobody else was joined
    first = np.unique(joined.label, return_index=True)[1]
    assert (np.diff(first) > 0).all()
    mine = made.truth == 0
    assert (joined.log_odds[mine] > 10).all()
    inside = mine[joined.tree.left]
    assert inside.sum() == TITLES - 1  # pairs that hold all together, and no more
    assert mine[joined.tree.right[inside]].all()
    assert (joined.tree.left < joined.tree.right).all()


def test_a_set_that_was_not_divided_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    made = catalog(0.9)
    rest = (made.faces, made.levels, made.mixture, made.pairs, Known.nothing(len(made.truth)))
    joined = join_people(*rest)
    assert rejoin_people(joined, *rest) is joined
    monkeypatch.setattr(linking, "MAX_COMPONENT", LARGEST)
    assert made.solve().label.tolist() == joined.label.tolist()


def test_decisions_names_and_titles_keep_pieces_apart(made: Catalog) -> None:
    n = len(made.truth)
    mine = np.flatnonzero(made.truth == 0)
    far = np.array([[mine[0], mine[-1]]])
    joined = made.solve(Known.nothing(n)._replace(cannot=far))
    assert joined.label[mine[0]] != joined.label[mine[-1]]
    name = np.full(n, -1)
    name[mine[0]], name[mine[-1]] = 0, 1
    joined = made.solve(Known.nothing(n)._replace(name=name))
    assert joined.label[mine[0]] != joined.label[mine[-1]]
    twice = made._replace(faces=Faces(made.faces.codes, np.minimum(made.faces.title, TITLES - 2)))
    joined = twice.solve()
    for label in np.unique(joined.label):
        titles = twice.faces.title[joined.label == label]
        assert len(set(titles.tolist())) == len(titles)


def test_a_group_that_is_too_large_is_not_compared_each_with_each(made: Catalog) -> None:
    group = np.where(made.truth == 0, 0, -1)
    joined = made.solve(Known.nothing(len(group))._replace(group=group))
    assert pieces_of(made, joined) == 1
    assert joined.label.max() == STRANGERS
    assert (made.truth[joined.tree.left] == 0).sum() == TITLES - 1


def test_pairs_of_one_person_do_not_grow_with_the_square(monkeypatch: pytest.MonkeyPatch) -> None:
    made = catalog(0.9)
    monkeypatch.setattr(linking, "MAX_COMPONENT", LARGEST)
    monkeypatch.setattr(linking, "KEPT", 3)
    rest = (made.faces, made.levels, made.mixture)
    whole = {}
    for held in (1, 1 << 20):
        monkeypatch.setattr(linking, "HELD", held)
        monkeypatch.setattr(linking, "BLOCK", 16)
        found = find_pairs(*rest, slice(0, len(made.truth)))
        whole[held] = [column.tolist() for column in found]
        count, before = (np.bincount(p.left, minlength=110) for p in (found, made.pairs))
        assert (count[before <= LARGEST] == before[before <= LARGEST]).all()
        assert set(count[before > LARGEST].tolist()) == {6}
        for left in np.flatnonzero(before > LARGEST):
            odds = np.sort(made.pairs.log_odds[made.pairs.left == left])
            kept = np.sort(found.log_odds[found.left == left])
            assert kept.tolist() == [*odds[:3], *odds[-3:]]
    assert whole[1] == whole[1 << 20]
    made = made._replace(pairs=found)
    assert pieces_of(made, made.solve()) == 1
