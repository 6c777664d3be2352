"""Strangers and pairs of one person are separated by their scores alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vcn_ray.core.linking import JOINED
from vcn_ray.core.mixture import CENTRES, EDGES, MOST_RETURNS, SAME_SCORE, Mixture, learn_mixture
from vcn_ray.records import F64, I64

SAMPLE = 500  # people whose scores with all others are counted


def in_rows(counts: F64 | I64) -> I64:
    """Counts (bins,) of all pairs at random among people (SAMPLE, bins)."""
    even = np.full(SAMPLE, 1 / SAMPLE)
    rows: I64 = np.random.default_rng(0).multinomial(counts.astype(np.int64), even).T
    return rows


def normal_counts(mean: float, sd: float, pairs: float) -> F64:
    density = np.exp(-0.5 * np.square((CENTRES - mean) / sd)) / (sd * np.sqrt(2 * np.pi))
    counts: F64 = density * pairs * (EDGES[1] - EDGES[0])
    return counts


@pytest.mark.parametrize("returns", [0.5, 3.0])
def test_a_mixture_is_learned(returns: float) -> None:
    people, counted = 15_000, SAMPLE * 15_000
    within = normal_counts(0.1, 1.1, 1e7).round().astype(np.int64)
    both = normal_counts(0.1, 1.1, counted) + normal_counts(7.5, 1.2, returns * SAMPLE)
    found = learn_mixture(within, in_rows(both.round()), people**2 / 2, people)
    assert found.stranger_sd == pytest.approx(1.1, abs=0.03)
    assert found.same_mean == pytest.approx(7.5, abs=0.1)
    assert found.same_fraction * people == pytest.approx(returns, rel=0.1)


@pytest.mark.parametrize("people", [0, 1])
def test_nothing_is_learned_of_nobody(people: int) -> None:
    nothing = np.zeros(len(CENTRES), np.int64)
    found = learn_mixture(nothing, in_rows(nothing), 0.0, people)
    assert found.same_mean == pytest.approx(SAME_SCORE)
    assert np.isfinite(found.log_odds).all()


def test_few_who_return_among_many_are_found() -> None:
    people, pairs, returning = 500_000, 1.25e11, 140_000
    random = np.random.default_rng(0)
    sample = 1e9 / pairs
    strangers = normal_counts(0.0, 1.02, 1e9)  # a little wider than titles show
    both = random.poisson(strangers + normal_counts(7.3, 1.0, returning * sample))
    within = random.poisson(normal_counts(0.0, 1.0, 1e6))
    found = learn_mixture(within, in_rows(both), pairs, people)
    assert found.same_mean == pytest.approx(7.3, abs=0.2)
    assert found.same_fraction * pairs == pytest.approx(returning, rel=0.3)
    assert 4.5 < found.score_of(0.0) < 6.5


def test_the_tail_of_strangers_is_not_taken_for_people() -> None:
    people, pairs = 500_000, 1.25e11
    strangers = normal_counts(0.0, 1.05, pairs).astype(np.int64)
    within = normal_counts(0.0, 1.0, 1e6).round().astype(np.int64)
    found = learn_mixture(within, in_rows(strangers), pairs, people)
    assert strangers[found.score_of(JOINED) < EDGES[:-1]].sum() < 100


def test_the_same_score_says_less_in_a_larger_catalog() -> None:
    small = Mixture(0.0, 1.0, 7.0, 1.5, 1e-2)
    large = replace(small, same_fraction=1e-6)
    assert large.at(np.array(5.0)) < small.at(np.array(5.0))
    assert large.score_of(0.0) > small.score_of(0.0)


@pytest.mark.parametrize("sd", [0.4, 1.0, 3.0])
def test_log_odds_never_fall_with_the_score(sd: float) -> None:
    assert (np.diff(Mixture(0.0, 1.0, 6.0, sd, 1e-2).log_odds) >= 0).all()


def test_a_title_that_holds_somebody_twice_hardly_widens_strangers() -> None:
    clean = normal_counts(0.0, 1.0, 1e5).round().astype(np.int64)
    twice = clean + normal_counts(8.0, 1.0, 500).round().astype(np.int64)
    before, after = (
        learn_mixture(each, in_rows(clean), 1e5, people=450).stranger_sd for each in (clean, twice)
    )
    assert after == pytest.approx(before, rel=0.05)


@pytest.mark.parametrize("part", [0.02, 0.3])
def test_one_person_in_most_titles_says_nothing_of_others(part: float) -> None:
    people, pairs = 10_000, 5e7
    within = normal_counts(0.0, 1.0, 1e6).round().astype(np.int64)
    rows = in_rows(normal_counts(0.0, 1.0, SAMPLE * people))
    presenter = np.arange(SAMPLE) < part * SAMPLE
    rows[presenter] += normal_counts(7.0, 1.0, 3000).round().astype(np.int64)
    found = learn_mixture(within, rows, pairs, people)
    assert found.same_mean == pytest.approx(7.0, abs=0.2)
    assert found.same_fraction * people == pytest.approx(MOST_RETURNS * part, rel=0.1)


def test_look_alikes_are_not_taken_for_one_person_beside_a_presenter() -> None:
    people = 2000
    within = normal_counts(0.0, 1.0, 1e5) + normal_counts(1.4, 1.0, 5e3)
    alike = normal_counts(0.0, 1.0, 0.95 * people) + normal_counts(1.4, 1.0, 0.05 * people)
    rows = in_rows(SAMPLE * alike)
    rows[: SAMPLE // 50] += normal_counts(7.0, 1.0, 300).round().astype(np.int64)
    found = learn_mixture(within.round().astype(np.int64), rows, people**2 / 2, people)
    assert found.same_mean == pytest.approx(7.0, abs=0.4)
    assert found.score_of(JOINED) > 4.5
