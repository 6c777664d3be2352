"""Codes are compared exactly, and one person who is everywhere does not stand for strangers."""

from __future__ import annotations

import numpy as np
import pytest

from vcn_ray.core.strangers import (
    COHORT_LOOKS,
    Faces,
    cosine_block,
    exact_codes,
    stranger_levels,
    take,
    thin_cohort,
)
from vcn_ray.core.vectors import unit_rows
from vcn_ray.errors import ShapeError
from vcn_ray.records import I64

DIM = 64


@pytest.mark.parametrize("length", [2, 128, 512, 2048])
def test_products_of_codes_are_exact_in_any_order(length: int) -> None:
    rows = unit_rows(np.random.default_rng(0).normal(size=(40, length)))
    codes = exact_codes(rows)
    exact = codes.astype(np.int64) @ codes.astype(np.int64).T
    order = np.random.default_rng(1).permutation(length)
    for columns in (np.arange(length), order):
        some = codes[:, columns].astype(np.float32)
        assert np.array_equal((some @ some.T).astype(np.int64), exact)
    unit = unit_rows(codes.astype(np.float64))
    assert np.abs(unit @ unit.T - rows @ rows.T).max() < 0.02


def test_embeddings_that_are_too_long_are_refused() -> None:
    with pytest.raises(ShapeError, match="too long"):
        exact_codes(np.ones((1, 70_000)))


def presented(titles: int = 60, strangers: int = 1) -> tuple[Faces, I64]:
    """Titles with one presenter, and so many others in each; and who is who."""
    random = np.random.default_rng(0)
    n = titles * (1 + strangers)
    truth = np.where(np.arange(n) % (1 + strangers) == 0, 0, np.arange(n))
    rows = unit_rows(random.normal(size=(n, DIM)))[truth]
    rows += 0.5 * unit_rows(random.normal(size=(n, DIM)))
    return Faces(exact_codes(unit_rows(rows)), np.arange(n) // (1 + strangers)), truth


def test_a_cohort_has_few_looks_of_one_person() -> None:
    faces, truth = presented()
    cohort = np.random.default_rng(1).permutation(len(truth))
    kept = thin_cohort(faces, cohort)
    assert (truth[kept] == 0).sum() == COHORT_LOOKS
    assert set(truth[kept]) == set(truth)
    assert kept.tolist() == [row for row in cohort if row in set(kept.tolist())]
    first = cohort[truth[cohort] == 0][:COHORT_LOOKS]
    assert set(first) <= set(kept)


def one_person_titles(common: float = 0.0) -> tuple[Faces, I64]:
    """60 titles with a presenter alone, and 140 with somebody else; all share so much."""
    random = np.random.default_rng(0)
    truth = np.maximum(np.arange(200) - 59, 0)
    rows = unit_rows(random.normal(size=(200, DIM)))[truth] + common * np.eye(1, DIM)
    rows += 0.5 * unit_rows(random.normal(size=(200, DIM)))
    return Faces(exact_codes(unit_rows(rows)), np.arange(200)), truth


@pytest.mark.parametrize("known", [None, (0.0, DIM**-0.5)])
def test_where_titles_show_one_person_each_the_prior_says_who_is_alike(
    known: tuple[float, float] | None,
) -> None:
    faces, truth = one_person_titles()
    kept = thin_cohort(faces, np.arange(200), known)
    assert (truth[kept] == 0).sum() == (60 if known is None else COHORT_LOOKS)
    assert (truth[kept] > 0).sum() == 140


def test_a_prior_that_fits_badly_takes_no_strangers_for_one_person() -> None:
    faces, truth = one_person_titles(common=0.8)
    strangers = np.flatnonzero(truth > 0)
    assert len(thin_cohort(faces, strangers, (0.0, 0.06))) == len(strangers)


def test_a_title_that_holds_the_presenter_twice_does_not_keep_him_in_the_cohort() -> None:
    faces, truth = presented(titles=200)
    truth[1:20:2], title = 0, faces.title
    codes = faces.codes.copy()
    codes[1:20:2] = codes[0:20:2]
    kept = thin_cohort(Faces(codes, title), np.arange(len(truth)))
    assert (truth[kept] == 0).sum() == COHORT_LOOKS


def test_nothing_is_left_out_where_hardly_any_strangers_are_known() -> None:
    faces = Faces(exact_codes(np.ones((30, DIM))), np.maximum(np.arange(30) - 1, 0))
    with np.errstate(all="raise"):
        assert len(thin_cohort(faces, np.arange(30))) == 30


@pytest.mark.parametrize("people", [0, 1, 2, 11])
def test_a_catalog_of_few_people_has_a_cohort(people: int) -> None:
    random = np.random.default_rng(0)
    faces = Faces(exact_codes(random.normal(size=(people, DIM))), np.arange(people))
    with np.errstate(all="raise"):
        kept = thin_cohort(faces, np.arange(people), (0.0, 0.1))
        levels = stranger_levels(faces, kept, (0.0, 0.1))
    assert len(kept) == people
    assert (levels.sd > 0).all()


def test_levels_of_a_thinned_cohort_are_those_of_strangers() -> None:
    faces, truth = presented(titles=300)
    every = np.arange(len(truth))
    cosine = cosine_block(faces, take(faces, every[truth > 0]))
    presenter = truth == 0
    usual = float(cosine[presenter].mean())
    levels = stranger_levels(faces, thin_cohort(faces, every))
    assert levels.mean[presenter].mean() == pytest.approx(usual, abs=0.02)
    assert stranger_levels(faces, every).mean[presenter].mean() > usual + 0.05
