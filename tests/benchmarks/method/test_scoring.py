"""Scores of pairs and of placements."""

from __future__ import annotations

import numpy as np

from benchmarks.method.scoring import score_pairs, wrongly_placed
from tests.helpers.bench import NO_PAIRS


def test_precision_and_recall_of_matches():
    truth = np.array([5, 5, 5, 7, 7])
    pairs = np.array([[0, 1], [1, 0], [3, 2], [4, 3]])  # the second is the first again
    assert score_pairs(pairs, truth) == (2 / 3, 2 / 4)
    assert score_pairs(NO_PAIRS, truth) == (None, 0.0)
    assert score_pairs(pairs[:1], np.arange(5)) == (0.0, None)


def test_which_tracks_are_placed_wrongly():
    truth, label = np.array([1, 1, 2, 2, 3]), np.array([0, 0, 0, 1, -1])
    assert wrongly_placed(truth, label).tolist() == [False, False, True, False, False]
