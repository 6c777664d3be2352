import numpy as np
import pytest

from tests import reference
from vcn_ray.core.metrics import evaluate_clustering
from vcn_ray.errors import ShapeError


def check(truth, predicted):
    found = evaluate_clustering(np.array(truth), np.array(predicted))
    assert found.wcp == pytest.approx(reference.purity(truth, predicted), abs=1e-12)
    assert found.nmi == pytest.approx(reference.mutual_information(truth, predicted), abs=1e-12)
    precision, recall = reference.bcubed(truth, predicted)
    assert found.bcubed_precision == pytest.approx(precision, abs=1e-12)
    assert found.bcubed_recall == pytest.approx(recall, abs=1e-12)
    assert found.bcubed_f == pytest.approx(2 * precision * recall / (precision + recall))
    assert found.pcr == len(set(predicted)) / len(set(truth))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_their_literal_twins(seed):
    rng = np.random.default_rng(seed)
    check(rng.integers(0, 6, 40).tolist(), rng.integers(0, 9, 40).tolist())


def test_a_perfect_clustering_with_other_numbers():
    found = check([5, 5, 2, 9], [0, 0, 1, 2])
    assert (found.wcp, found.pcr, found.bcubed_f) == (1, 1, 1)
    assert found.nmi == pytest.approx(1)


def test_over_splitting_is_pure_and_seen_by_the_others():
    found = check([0] * 6 + [1] * 6, list(range(12)))
    assert (found.wcp, found.pcr) == (1, 6)
    assert found.bcubed_recall == pytest.approx(1 / 6)


@pytest.mark.parametrize(("truth", "predicted"), [([0], [0]), ([0, 0], [3, 3]), ([0, 1], [0, 0])])
def test_one_cluster_or_one_track(truth, predicted):
    check(truth, predicted)


def test_unknown_tracks_count_in_the_share_and_the_identities_only():
    found = evaluate_clustering(np.array([0, 0, 1, 2]), np.array([0, 0, 1, -1]))
    assert (found.tracks, found.identities, found.clusters) == (4, 3, 2)
    assert found.unknown_share == 0.25
    assert (found.wcp, found.bcubed_f) == (1, 1)
    assert found.pcr == pytest.approx(2 / 3)


def test_tracks_without_an_identity_are_ignored():
    found = evaluate_clustering(np.array([-1, 0, 1]), np.array([0, 0, 4]))
    assert (found.tracks, found.clusters, found.wcp) == (2, 2, 1)


@pytest.mark.parametrize(("truth", "predicted"), [([], []), ([0, 1], [-1, -1]), ([-1], [0])])
def test_nothing_to_score_is_zero(truth, predicted):
    found = evaluate_clustering(np.array(truth, np.int64), np.array(predicted, np.int64))
    assert (found.wcp, found.pcr, found.nmi, found.bcubed_f) == (0, 0, 0, 0)


def test_labels_of_different_length_are_refused():
    with pytest.raises(ShapeError, match="one shape"):
        evaluate_clustering(np.zeros(3, np.int64), np.zeros(2, np.int64))
