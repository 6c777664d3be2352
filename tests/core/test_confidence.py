from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.core_data import PRIOR
from vcn_ray.core import vectors
from vcn_ray.core.confidence import (
    FITTED,
    TYPICAL_RECOGNISABILITY,
    TYPICAL_SCORE,
    Evidence,
    Weights,
    confidence,
    gather_evidence,
    own_distances,
)
from vcn_ray.core.distance import cosine_space


def evidence(
    distance: float = 0.5, seen: float = 0.5, score: float = 1.3, tracks: int = 2
) -> Evidence:
    return Evidence(np.array([distance]), np.array([seen]), np.array([score]), np.array([tracks]))


def test_confidence_is_the_logistic_function_written_out() -> None:
    weights = Weights(0.3, -1.5, 0.7, 2.0, 0.4)
    found = confidence(evidence(0.6, 0.8, 1.2, 3), weights)
    odds = 0.3 - 1.5 * 0.6 + 0.7 * np.log(0.8 / 0.2) + 2.0 * (1.2 - 1) + 0.4 * np.log(3)
    assert found == pytest.approx([1 / (1 + np.exp(-odds))], rel=1e-6)


def test_each_cue_counts_as_it_should() -> None:
    usual = confidence(evidence())[0]
    assert confidence(evidence(distance=0.9))[0] < usual
    assert confidence(evidence(seen=0.9))[0] > usual
    assert confidence(evidence(score=1.0))[0] < usual
    assert confidence(evidence(tracks=9))[0] > usual
    assert FITTED.per_distance < 0 < min(FITTED[2:])


def test_certain_faces_have_finite_odds() -> None:
    found = confidence(evidence(seen=1.0)), confidence(evidence(seen=0.0))
    assert 0 < found[1][0] < found[0][0] < 1


def test_evidence_is_that_of_tracks_in_a_person() -> None:
    label = np.array([0, -1, 0, 1])
    rows, found = gather_evidence(
        label,
        np.array([0.4, np.nan, 0.2, 0.0]),
        np.array([0.9, 0.1, 0.8, 0.3], np.float32),
        np.array([2 * PRIOR.min_score, 0.1, np.nan, PRIOR.min_score], np.float32),
        PRIOR,
    )
    assert rows.tolist() == [0, 2, 3]
    assert found.distance == pytest.approx([0.4, 0.2, 0.0])
    assert found.recognisability == pytest.approx([0.9, 0.8, 0.3])
    assert found.score == pytest.approx([2.0, TYPICAL_SCORE, 1.0])
    assert found.tracks.tolist() == [2, 2, 1]


def test_without_a_prior_faces_count_as_typical() -> None:
    one = np.ones(1, np.float32)
    _, found = gather_evidence(np.array([0]), np.array([0.1]), one, one, None)
    assert (found.recognisability[0], found.score[0]) == (TYPICAL_RECOGNISABILITY, TYPICAL_SCORE)
    rows, nobody = gather_evidence(np.array([-1]), np.array([np.nan]), one, one, PRIOR)
    assert (len(rows), len(confidence(nobody))) == (0, 0)


@pytest.mark.parametrize("cells", [1, 4_000_000])
def test_own_distances_are_means_over_pairs(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "BLOCK_CELLS", cells)
    rows = np.random.default_rng(0).normal(size=(7, 4))
    label = np.array([0, 0, 1, 1, 1, 2, 0])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = own_distances(cosine_space(rows), label)
    for i in range(7):
        mates = [k for k in range(7) if label[k] == label[i] and k != i]
        literal = np.mean([1 - unit[i] @ unit[k] for k in mates]) if mates else 0.0
        assert found[i] == pytest.approx(literal, abs=1e-9)


def test_equal_tracks_have_no_distance() -> None:
    found = own_distances(cosine_space(np.ones((3, 2))), np.zeros(3, int))
    assert found == pytest.approx([0, 0, 0], abs=1e-12)
