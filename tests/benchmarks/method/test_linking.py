"""METHOD 4 as published against the reference, and its other readings."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.method.linking import MATCHES, MERGES, PUBLISHED, Rule, link
from benchmarks.method.tables import (
    augmented_limits,
    cosine,
    euclidean,
    held_out_limits,
    learned_loss,
    plain_limits,
    sides,
)
from tests import reference
from tests.helpers.bench import NO_PAIRS
from vcn_ray.core.vectors import unit_rows


def made_outputs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(3, m, f) views of crops of few people, and the track of each."""
    rng = np.random.default_rng(seed)
    track = np.repeat(np.arange(9), rng.integers(2, 5, 9))
    people = rng.normal(size=(4, 8))[rng.integers(0, 4, 9)]
    rows = people[track] + rng.normal(size=(len(track), 8)) * (0.3, 0.6, 0.9)[seed % 3]
    return np.stack(
        [unit_rows(rows + rng.normal(size=rows.shape) * s) for s in (0, 0.1, 0.1)]
    ), track


@pytest.mark.parametrize("seed", range(6))
def test_the_published_rule_is_the_reference(seed):
    views, track = made_outputs(seed)
    centre = views[0].mean(axis=0) / 2
    loss = learned_loss(centre, 0.07, 0.1)
    limits = plain_limits(loss, views, track)
    found = link(sides(loss, views[0], track), limits, NO_PAIRS, PUBLISHED)
    crops = [views[0][track == j] for j in range(9)]
    assert found.tolist() == reference.close(crops, centre, 0.07, 0.1).tolist()


def test_no_rule_puts_together_what_cannot_link():
    views, track = made_outputs(5)
    table, limits = sides(cosine, views[0], track), augmented_limits(cosine, views, track)
    free = link(table, limits, NO_PAIRS, PUBLISHED)
    pairs = np.array([[i, k] for i in range(9) for k in range(i) if free[i] == free[k]])[:3]
    assert len(pairs)
    for match in MATCHES:
        for merge in MERGES:
            label = link(table, limits, pairs, Rule(match, merge))
            assert (label[pairs[:, 0]] != label[pairs[:, 1]]).all()


def test_thresholds_are_means_over_distinct_crops():
    views, track = made_outputs(0)
    first = np.flatnonzero(track == 0)
    pairs = [(i, k) for i in first for k in first if i != k]
    one = np.eye(9)[:1]

    def mean(values):
        return pytest.approx(np.mean(list(values)))

    plain = plain_limits(euclidean, views, track).of(one)[0]
    assert plain == mean(np.linalg.norm(views[0][i] - views[0][k]) for i, k in pairs)
    shown = augmented_limits(cosine, views, track).of(one)[0]
    both = [(1, 2), (2, 1)]
    assert shown == mean(1 - views[a][i] @ views[b][k] for i, k in pairs for a, b in both)
    held = held_out_limits(euclidean, views, track, first[-2:])
    far = np.linalg.norm(views[0][first[-2]] - views[0][first[-1]])
    assert held.of(one)[0] == pytest.approx(far)
    # tracks without a held-out crop fall back to all of theirs
    assert held.of(np.eye(9))[1:] == pytest.approx(
        plain_limits(euclidean, views, track).of(np.eye(9))[1:]
    )
